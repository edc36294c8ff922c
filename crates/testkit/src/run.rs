//! Running a law: one at a time in a process, on random cases that are the same in every run, shrunk when one fails.

use crate::laws;
use crate::{BackendFixture, Law, LawViolation};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The environment variable with the seed of the random cases, 0 if it is not set.
pub const SEED_VARIABLE: &str = "QTUNER_LAWS_SEED";

/// Why a law does not hold, in words.
#[derive(Clone)]
pub(crate) struct Broken(String);

impl Broken {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// With what was being done in front.
    pub(crate) fn during(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(format!("unexpected error: {error}"))
    }
}

pub(crate) type Verdict<T = ()> = Result<T, Broken>;

/// Leaves the law with a reason unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::run::Broken::new(format!($($reason)+)));
        }
    };
}
pub(crate) use ensure;

/// Two laws would disturb each other, in one process (threads, seed, memory) and in two (processors that both keep busy).
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Checks one law on one backend.
///
/// Laws change libtorch's threads and seed and measure the whole process, so they run one at a time; do not run them
/// beside other tests that do the same.
///
/// # Errors
/// [`LawViolation`] with the smallest case that was found, and the seed that finds it again.
pub fn check(fixture: &dyn BackendFixture, law: Law) -> Result<(), LawViolation> {
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let _threads = RestoredThreads(tch::get_num_threads());
    // Threads that wait for each other busily make small layers crawl on a busy machine; the laws about threads ask for them.
    tch::set_num_threads(1);
    let verdict = catch_unwind(AssertUnwindSafe(|| laws::of(law)(fixture)))
        .unwrap_or_else(|payload| Err(Broken(format!("panicked: {}", message_of(&*payload)))));
    verdict.map_err(|Broken(detail)| LawViolation { law, backend: fixture.name().to_owned(), detail })
}

/// Checks one law, as a test does.
///
/// # Panics
/// With the [`LawViolation`]'s text.
pub fn uphold(fixture: &dyn BackendFixture, law: Law) {
    if let Err(violation) = check(fixture, law) {
        panic!("{violation}");
    }
}

/// Checks all laws once more, in a process of their own that has the environment variable `variable` set to `value`: for
/// what a process chooses once, as which instructions its kernels use. `module` is where [`laws!`](crate::laws) put the tests
/// in this test binary, `laws` by default.
///
/// # Panics
/// With the process's output, unless it ran every law and all of them hold.
pub fn uphold_with(variable: &str, value: &str, module: &str) {
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = std::env::current_exe().expect("a running test has a program");
    let run = Command::new(program).env(variable, value).arg(format!("{module}::")).output();
    let output = run.expect("a program that runs can be run again");
    let text = String::from_utf8_lossy(&output.stdout);
    let all_passed = format!("{} passed; 0 failed", Law::ALL.len());
    assert!(output.status.success() && text.contains(&all_passed), "with {variable}={value}:\n{text}");
}

struct RestoredThreads(i32);

impl Drop for RestoredThreads {
    fn drop(&mut self) {
        tch::set_num_threads(self.0);
    }
}

/// What a caught panic said.
pub(crate) fn message_of(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Runs `test` on `cases` values of `strategy`; a failure is shrunk, and reported with the seed.
pub(crate) fn for_all<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Verdict) -> Verdict {
    let seed = std::env::var(SEED_VARIABLE).unwrap_or_else(|_| "0".to_owned());
    let seed: u64 = seed
        .parse()
        .map_err(|_| Broken(format!("{SEED_VARIABLE} is {seed:?}, expected a whole number below 2^64")))?;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome =
        runner.run(&strategy, |value| test(value).map_err(|Broken(text)| TestCaseError::fail(text)));
    outcome.map_err(|error| match error {
        TestError::Fail(reason, value) => {
            Broken(format!("{reason}\n  smallest case: {value:?}\n  seed: {SEED_VARIABLE}={seed}"))
        }
        TestError::Abort(reason) => Broken(format!("the cases could not be run: {reason}")),
    })
}
