//! What a backend author writes once, so that the laws can be run on the backend.

use crate::{Case, CheckpointTensors, Corruption, Shapes};
use qtuner_core::{Dispatcher, Layer, LayerError};
use tch::{Kind, Tensor};

/// How the outputs of one thread and of many compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAgreement {
    /// Every bit is the same: what a kernel of one's own can promise.
    BitEqual,
    /// Both are within the bound: a BLAS library may cut its sums differently for each number of threads.
    WithinBound,
}

/// How the laws make layers of one backend.
///
/// Who implements it: a backend's tests, once. Who calls it: the laws. See the [crate's documentation](crate) for an example.
pub trait BackendFixture {
    /// The backend's name, for reports.
    fn name(&self) -> &'static str;

    /// The dtypes of inputs that the layers take, each of which is tried.
    fn input_kinds(&self) -> Vec<Kind>;

    /// The sizes that the format can hold.
    fn shapes(&self) -> Shapes;

    /// The layer that `case` describes. Equal cases give equal layers: draw values from libtorch's generator, which is seeded
    /// with the case's seed, or derive them from the case.
    ///
    /// # Errors
    /// Whatever the backend says; every case is one that [`shapes`](Self::shapes) allows, so an error breaks a law.
    fn build(&self, case: &Case) -> Result<Box<dyn Layer>, LayerError>;

    /// A layer from the tensors that [`Layer::named_tensors`] gave, after they went through a file.
    ///
    /// # Errors
    /// [`LayerError::Tensor`] for tensors that do not fit each other or the format; `found` and `expected` are filled in.
    fn load(&self, tensors: CheckpointTensors) -> Result<Box<dyn Layer>, LayerError>;

    /// Wrong, truncated and lying tensors, each of which must be refused.
    fn corruptions(&self) -> Vec<Corruption<'_>>;

    /// The backend's entry in the registry.
    fn dispatcher(&self) -> Dispatcher;

    /// The weight `[out_features, in_features]` of `case`, computed by other means than the backend's, if the fixture can:
    /// [`dequantize`](qtuner_core::QuantBackend::dequantize) must equal it, bit for bit in f32.
    fn expected_weight(&self, case: &Case) -> Option<Tensor> {
        let _ = case;
        None
    }

    /// How the outputs of one thread and of many compare.
    fn thread_agreement(&self) -> ThreadAgreement {
        ThreadAgreement::BitEqual
    }

    /// How many bytes a forward and backward pass of `rows` rows may hold at most beyond the layer and its input: four
    /// times input and output in f32, and 8 MiB for tiles, code and the noise of the measurement.
    fn memory_bound(&self, case: &Case, rows: i64) -> i64 {
        4 * 4 * rows * (case.in_features + case.out_features) + (8 << 20)
    }
}
