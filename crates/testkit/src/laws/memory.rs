//! Law 10: peak memory of forward and backward stays within a stated bound above the packed weights.
//!
//! Measured on Linux, as the growth of the process's peak resident set over its resident set before, on a layer so large that a
//! dense copy in any dtype stands out; elsewhere the law is not measurable, and holds. The same passes over a small layer
//! come first, so that code and buffers that are touched once do not count.

use crate::BackendFixture;
use crate::run::Verdict;

#[cfg(not(target_os = "linux"))]
pub(super) fn law(_fixture: &dyn BackendFixture) -> Verdict {
    Ok(())
}

#[cfg(target_os = "linux")]
pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
    linux::law(fixture)
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::adapted::build;
    use crate::input::Input;
    use crate::run::{Broken, Verdict, ensure};
    use crate::{BackendFixture, Case};
    use qtuner_core::{Layer, Support};
    use tch::{Kind, Tensor};

    /// Features a side: a copy in f16 has 32 MiB, which no allocator keeps for later.
    const FEATURES: i64 = 4096;
    const ROWS: i64 = 32;
    /// Each may have tiles of its own, so their number is fixed as the bound is.
    const THREADS: i32 = 2;

    pub(super) fn law(fixture: &dyn BackendFixture) -> Verdict {
        tch::set_num_threads(THREADS);
        for kind in fixture.input_kinds() {
            stays_within_bound(fixture, &fixture.shapes().square(FEATURES, kind), kind)?;
        }
        Ok(())
    }

    fn stays_within_bound(fixture: &dyn BackendFixture, case: &Case, kind: Kind) -> Verdict {
        let bound = fixture.memory_bound(case, ROWS);
        let layer = build(fixture, case)?;
        let copy = case.in_features * case.out_features * 2;
        let packed = layer.as_quantized().is_some();
        ensure!(
            !packed || bound < copy,
            "the bound of {bound} bytes has room for a dense copy of {copy} bytes"
        );
        let small = fixture.shapes().square(256, kind);
        passes(&*build(fixture, &small)?, &small)?;

        let x = Input::rows(ROWS).draw(case.in_features, case.input_kind);
        reset_peak()?;
        let before = status("VmRSS:")?;
        pass(&*layer, &x)?;
        let grown = status("VmHWM:")? - before;
        ensure!(
            grown <= bound,
            "a pass of {ROWS} rows took {grown} bytes at its peak, expected at most {bound}: {case:?}"
        );
        Ok(())
    }

    fn passes(layer: &dyn Layer, case: &Case) -> Verdict {
        for _ in 0..2 {
            pass(layer, &Input::rows(ROWS).draw(case.in_features, case.input_kind))?;
        }
        Ok(())
    }

    fn pass(layer: &dyn Layer, x: &Tensor) -> Verdict {
        let reaches_input =
            layer.as_quantized().is_none_or(|layer| layer.capabilities().grad_input == Support::Yes);
        let x = x.detach().set_requires_grad(reaches_input);
        let y = layer.forward(&x)?;
        if reaches_input {
            y.sum(y.kind()).f_backward()?;
        }
        Ok(())
    }

    /// Makes the peak of the resident set what it is now.
    fn reset_peak() -> Verdict {
        let reset = std::fs::write("/proc/self/clear_refs", "5");
        reset.map_err(|error| {
            Broken::from(error).during("/proc/self/clear_refs, without which peaks cannot be measured")
        })
    }

    /// A line of the process's status, in bytes.
    fn status(field: &str) -> Verdict<i64> {
        let text = std::fs::read_to_string("/proc/self/status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| Broken::new(format!("no {field} in /proc/self/status")))
    }
}
