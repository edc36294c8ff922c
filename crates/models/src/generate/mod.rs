//! From prompts to texts, token by token, with a [`KeyValueCache`].

mod options;
mod random;
mod sampler;

pub use options::GenerationOptions;

use crate::{CausalLm, KeyValueCache, ModelError, ModelInput};
use qtuner_core::autograd::inference_mode;
use sampler::Sampler;
use std::ops::ControlFlow;
use tch::{Device, Kind, TchError, Tensor};

impl CausalLm {
    /// Continues every prompt and gives the new tokens, the one that ended a text included.
    ///
    /// `on_token` gets every token as it comes, with the number of its prompt; `Break` ends the generation. Prompts of
    /// different lengths are padded on the left, which no token sees. Dropout is the caller's: set the model's mode to
    /// [`Mode::Eval`](qtuner_core::Mode::Eval) first if it trains.
    ///
    /// ```no_run
    /// # use qtuner_models::{CausalLm, GenerationOptions, OpenOptions};
    /// # use std::ops::ControlFlow;
    /// # let model = CausalLm::open("my-model", &OpenOptions::default())?;
    /// let options = GenerationOptions { temperature: 0.8, top_p: Some(0.95), ..GenerationOptions::default() };
    /// let texts = model.generate(&[vec![0, 15, 7]], &options, |_prompt, token| {
    ///     println!("{token}");
    ///     ControlFlow::Continue(())
    /// })?;
    /// # Ok::<(), qtuner_models::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// [`ModelError::Input`] for an empty prompt, a token outside of the vocabulary, or an option out of its range;
    /// [`ModelError::NotANumber`] for a model that computes none.
    pub fn generate(
        &self,
        prompts: &[Vec<i64>],
        options: &GenerationOptions,
        mut on_token: impl FnMut(usize, i64) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<i64>>, ModelError> {
        options.validate()?;
        if prompts.is_empty() || prompts.iter().any(Vec::is_empty) {
            return Err(ModelError::Input {
                what: "prompt",
                found: "empty".to_owned(),
                expected: "at least one token; a text from nothing begins with the bos token".to_owned(),
            });
        }
        let _guard = tch::no_grad_guard();
        let eos = options.eos_token_ids.as_ref().unwrap_or(&self.config().eos_token_ids);
        let mut texts: Vec<Text<'_>> =
            prompts.iter().enumerate().map(|row| Text::new(row, options)).collect();
        let mut cache = KeyValueCache::new();
        let mut input =
            Padded::new(prompts, self.device()).map_err(ModelError::torch("padding the prompts"))?;
        for _ in 0..options.max_new_tokens {
            let mut logits = inference_mode(|| self.last_logits(&input, &mut cache))
                .map_err(ModelError::torch("inference mode"))??;
            for (row, (text, logits)) in texts.iter_mut().zip(&mut logits).enumerate() {
                if text.has_ended {
                    continue;
                }
                if logits.iter().any(|logit| logit.is_nan()) {
                    return Err(ModelError::NotANumber { place: text.tokens.len() });
                }
                let token = text.push(logits, eos)?;
                if on_token(row, token).is_break() {
                    return Ok(texts.into_iter().map(|text| text.tokens).collect());
                }
            }
            if texts.iter().all(|text| text.has_ended) {
                break;
            }
            let last: Vec<i64> = texts.iter().filter_map(|text| text.tokens.last().copied()).collect();
            input = input.next(&last, self.device()).map_err(ModelError::torch("the next tokens"))?;
        }
        Ok(texts.into_iter().map(|text| text.tokens).collect())
    }

    /// The logits after the last token of every row.
    fn last_logits(&self, input: &Padded, cache: &mut KeyValueCache) -> Result<Vec<Vec<f32>>, ModelError> {
        let model_input = ModelInput { tokens: &input.tokens, segments: input.segments.as_ref() };
        let hidden = self.hidden_states_cached(&model_input, cache)?;
        let last = hidden.f_select(1, -1).map_err(ModelError::torch("the last token"))?;
        let logits = self.logits(&last)?;
        let rows = || {
            let logits = logits.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
            let row = |row| Vec::<f32>::try_from(logits.f_get(row)?);
            (0..logits.size2()?.0).map(row).collect::<Result<Vec<_>, TchError>>()
        };
        rows().map_err(ModelError::torch("reading the logits"))
    }
}

/// A text as it grows.
struct Text<'a> {
    tokens: Vec<i64>,
    sampler: Sampler<'a>,
    has_ended: bool,
}

impl<'a> Text<'a> {
    fn new((row, prompt): (usize, &Vec<i64>), options: &'a GenerationOptions) -> Self {
        Self { tokens: Vec::new(), sampler: Sampler::new(options, row, prompt), has_ended: false }
    }

    fn push(&mut self, logits: &mut [f32], eos: &[i64]) -> Result<i64, ModelError> {
        let token = i64::try_from(self.sampler.next(logits))
            .map_err(|error| ModelError::torch("choosing a token")(TchError::Convert(error.to_string())))?;
        self.tokens.push(token);
        self.has_ended = eos.contains(&token);
        Ok(token)
    }
}

/// Rows of equal length, padded on the left where they are not of their own.
struct Padded {
    tokens: Tensor,
    /// Only where there is padding.
    segments: Option<Tensor>,
}

impl Padded {
    fn new(prompts: &[Vec<i64>], device: Device) -> Result<Self, TchError> {
        let time = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |value: &dyn Fn(&i64) -> i64| {
            let row = |prompt: &Vec<i64>| {
                let padding = std::iter::repeat_n(0, time - prompt.len());
                padding.chain(prompt.iter().map(value)).collect::<Vec<i64>>()
            };
            let rows: Vec<i64> = prompts.iter().flat_map(row).collect();
            let batch = i64::try_from(prompts.len()).map_err(|error| TchError::Shape(error.to_string()))?;
            Tensor::f_from_slice(&rows)?.f_view([batch, -1])?.f_to_device(device)
        };
        let is_ragged = prompts.iter().any(|prompt| prompt.len() != time);
        let segments = is_ragged.then(|| padded(&|_| 1)).transpose()?;
        Ok(Self { tokens: padded(&|token| *token)?, segments })
    }

    /// One more token for every row.
    fn next(&self, tokens: &[i64], device: Device) -> Result<Self, TchError> {
        let tokens = Tensor::f_from_slice(tokens)?.f_unsqueeze(1)?.f_to_device(device)?;
        let segments = self.segments.as_ref().map(|_| tokens.f_ones_like()).transpose()?;
        Ok(Self { tokens, segments })
    }
}
