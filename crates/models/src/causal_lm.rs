//! A causal language model: a decoder and a head over the vocabulary.

use crate::assembly::Assembly;
use crate::cache::KeyValueCache;
use crate::config::{Bias, DecoderConfig, Head};
use crate::decoder::Decoder;
use crate::{Checkpoint, ModelError, ModelInput};
use qtuner_core::{Layer, Linear, ModuleTree, Registry, Slot};
use std::cell::RefCell;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// How a folder is opened.
///
/// ```
/// use qtuner_models::OpenOptions;
/// use tch::Kind;
/// let options = OpenOptions { compute: Kind::BFloat16, ..OpenOptions::default() };
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions<'a> {
    /// The backends to ask; without it, those that are linked into the program.
    pub registry: Option<&'a Registry>,
    /// The dtype that the model computes in: `Float` (the default), `BFloat16` or `Half`. Unquantized tensors are
    /// converted to it; packed ones stay as they are.
    pub compute: Kind,
    /// Where the model is.
    pub device: Device,
}

impl Default for OpenOptions<'_> {
    fn default() -> Self {
        Self { registry: None, compute: Kind::Float, device: Device::Cpu }
    }
}

/// A causal language model on slots, under Hugging Face's names (`model.layers.0.self_attn.q_proj`, `lm_head`).
///
/// ```no_run
/// use qtuner_core::{LoraConfig, inject_adapter};
/// use qtuner_models::{CausalLm, ModelInput, OpenOptions};
///
/// let mut model = CausalLm::open("my-model", &OpenOptions::default())?;
/// inject_adapter(&mut model, &LoraConfig::new(["q_proj", "v_proj"]), "default")?;
/// let tokens = tch::Tensor::from_slice(&[1_i64, 15, 7]).view([1, 3]);
/// let logits = model.logits(&model.hidden_states(&ModelInput::new(&tokens))?)?;
/// assert_eq!(logits.size(), [1, 3, model.vocab_size()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, ModuleTree)]
pub struct CausalLm {
    model: Decoder,
    #[module(head)]
    lm_head: Option<Slot>,
    #[module(skip)]
    config: DecoderConfig,
    #[module(skip)]
    compute: Kind,
    #[module(skip)]
    device: Device,
}

impl CausalLm {
    /// Opens a Hugging Face folder: `config.json` and `model.safetensors`, or shards with an index.
    ///
    /// Each tensor is copied once, out of the mapped file; [`arrange_for`](qtuner_core::model::arrange_for) lets packed layers
    /// bring theirs into the order that is fastest for the compute dtype. Tensors that the model has no place for are named in
    /// a warning.
    ///
    /// # Errors
    /// [`ModelError`] for a folder that is no such model; it names the file and the tensor or key.
    pub fn open(folder: impl AsRef<Path>, options: &OpenOptions<'_>) -> Result<Self, ModelError> {
        let config = DecoderConfig::read(folder.as_ref())?;
        Self::from_checkpoint(&Checkpoint::open(folder)?, config, options)
    }

    /// A model of `config` with the tensors of `checkpoint`.
    ///
    /// # Errors
    /// [`ModelError`] for tensors that do not fit the config.
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        config: DecoderConfig,
        options: &OpenOptions<'_>,
    ) -> Result<Self, ModelError> {
        let OpenOptions { registry, compute, device } = *options;
        if !matches!(compute, Kind::Float | Kind::BFloat16 | Kind::Half) {
            return Err(ModelError::Input {
                what: "compute dtype",
                found: format!("{compute:?}"),
                expected: "Float, BFloat16 or Half".to_owned(),
            });
        }
        let registry = match registry {
            Some(registry) => registry,
            None => Registry::linked()?,
        };
        let assembly = Assembly { checkpoint, registry, kind: compute, device, used: RefCell::default() };
        let model = Decoder::load(&assembly, &config)?;
        let lm_head = match config.head {
            Head::Tied => None,
            Head::Own => {
                Some(assembly.linear("lm_head", config.hidden_size, config.vocab_size, Bias::Optional)?)
            }
        };
        let unused = assembly.unused();
        if !unused.is_empty() {
            let folder = checkpoint.folder().display();
            tracing::warn!("{folder}: tensors that the model has no place for: {}", unused.join(", "));
        }
        let mut model = Self { model, lm_head, config, compute, device };
        // The walk tells every slot its name, which its errors then say.
        drop(model.collect_leaves_mut());
        Ok(model)
    }

    /// The decoder's output after the last norm, `[batch, time, hidden]` in the compute dtype. Gradients are recorded where
    /// an adapter trains.
    ///
    /// # Errors
    /// [`ModelError::Input`] for tokens or segments of a wrong shape or dtype, or tokens outside of the vocabulary.
    pub fn hidden_states(&self, input: &ModelInput<'_>) -> Result<Tensor, ModelError> {
        input.check(self.config.vocab_size)?;
        self.model.forward(input)
    }

    /// The same for tokens that follow those in `cache`, which remembers them, too. No gradients are recorded.
    ///
    /// # Errors
    /// Those of [`hidden_states`](Self::hidden_states), and [`ModelError::Input`] for a cache of another model or batch size;
    /// the cache is as it was then.
    pub fn hidden_states_cached(
        &self,
        input: &ModelInput<'_>,
        cache: &mut KeyValueCache,
    ) -> Result<Tensor, ModelError> {
        let _guard = tch::no_grad_guard();
        input.check(self.config.vocab_size)?;
        self.model.forward_cached(input, cache)
    }

    /// The logits `[..., vocab]` of `hidden [..., hidden]`, in the compute dtype, soft-capped where the config says so.
    ///
    /// # Errors
    /// [`ModelError::Input`] when the last dimension is another.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        if hidden.size().last() != Some(&self.config.hidden_size) || hidden.kind() != self.compute {
            return Err(ModelError::Input {
                what: "hidden states",
                found: format!("{:?} {:?}", hidden.kind(), hidden.size()),
                expected: format!("{:?} [..., {}]", self.compute, self.config.hidden_size),
            });
        }
        let logits = match &self.lm_head {
            Some(head) => head.forward(hidden)?,
            None => Linear::new(self.model.embedding().shallow_clone(), None)?.forward(hidden)?,
        };
        match self.config.logit_softcap {
            None => Ok(logits),
            Some(cap) => logits
                .f_div_scalar(cap)
                .and_then(|logits| logits.f_tanh()?.f_mul_scalar(cap))
                .map_err(ModelError::torch("soft-capping the logits")),
        }
    }

    /// The model's shape and its family's choices.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> i64 {
        self.config.vocab_size
    }

    /// Width of the hidden states.
    pub fn hidden_size(&self) -> i64 {
        self.config.hidden_size
    }

    /// The dtype that the model computes in.
    pub fn compute_kind(&self) -> Kind {
        self.compute
    }

    /// Where the model is.
    pub fn device(&self) -> Device {
        self.device
    }
}
