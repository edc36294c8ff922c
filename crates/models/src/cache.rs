//! Keys and values of the tokens that a model has seen, so that the next token costs one token.
//!
//! Room for a layer's keys and values, `[batch, kv heads, capacity, head_dim]`, doubles when it is full. The number of valid
//! tokens is kept for all layers together and grows at the end of a whole forward pass: one that fails changes nothing.

use crate::{ModelError, ModelInput};
use tch::{TchError, Tensor};

/// The smallest room for tokens.
const MIN_CAPACITY: i64 = 64;

/// What a model remembers of the tokens so far; empty at first.
///
/// ```no_run
/// # use qtuner_models::{CausalLm, KeyValueCache, ModelInput, OpenOptions};
/// # let model = CausalLm::open("my-model", &OpenOptions::default())?;
/// let mut cache = KeyValueCache::new();
/// for token in [3_i64, 1, 4] {
///     let tokens = tch::Tensor::from_slice(&[token]).view([1, 1]);
///     let hidden = model.hidden_states_cached(&ModelInput::new(&tokens), &mut cache)?;
///     println!("{:?}", model.logits(&hidden)?.size());
/// }
/// assert_eq!(cache.len(), 3);
/// # Ok::<(), qtuner_models::ModelError>(())
/// ```
#[derive(Debug, Default)]
pub struct KeyValueCache {
    layers: Vec<LayerCache>,
    length: i64,
    batch: i64,
    tokens: Option<Tensor>,
    segments: Option<Tensor>,
}

/// One layer's room.
#[derive(Debug, Default)]
pub(crate) struct LayerCache {
    room: Option<(Tensor, Tensor)>,
}

impl KeyValueCache {
    /// An empty cache, for any model; after its first use, for that model and batch size.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of tokens seen, padding included.
    pub fn len(&self) -> i64 {
        self.length
    }

    /// Whether no token was seen.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All tokens and, if there are any, their segments, `[batch, length]`: the ones seen and those of `input`.
    pub(crate) fn followed_by(&self, input: &ModelInput<'_>) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let Some(tokens) = &self.tokens else {
            return Ok((input.tokens.shallow_clone(), input.segments.map(Tensor::shallow_clone)));
        };
        let segments = match (&self.segments, input.segments) {
            (None, None) => Ok(None),
            (Some(seen), Some(segments)) => Tensor::f_cat(&[seen, segments], 1).map(Some),
            (seen, _) => {
                let some = |has: bool| if has { "some" } else { "none" };
                return Err(ModelError::Input {
                    what: "segments",
                    found: some(seen.is_none()).to_owned(),
                    expected: format!("{}, as for the cached tokens", some(seen.is_some())),
                });
            }
        };
        let joined = || Ok((Tensor::f_cat(&[tokens, input.tokens], 1)?, segments?));
        joined().map_err(ModelError::torch("joining the tokens"))
    }

    /// Makes room for `layers` layers, and checks that the cache is of such a model and batch.
    pub(crate) fn prepare(&mut self, layers: usize, batch: i64) -> Result<(), ModelError> {
        if self.is_empty() {
            self.layers.resize_with(layers, LayerCache::default);
            self.batch = batch;
        }
        if self.batch == batch && self.layers.len() == layers {
            return Ok(());
        }
        Err(ModelError::Input {
            what: "cache",
            found: format!("of batch size {} and {} layers", self.batch, self.layers.len()),
            expected: format!("one of batch size {batch} and {layers} layers"),
        })
    }

    pub(crate) fn layers(&mut self) -> impl Iterator<Item = CacheSlot<'_>> {
        let length = self.length;
        self.layers.iter_mut().map(move |layer| CacheSlot { layer, length })
    }

    /// Counts all of `tokens` as seen, after every layer has stored them.
    pub(crate) fn advance(&mut self, tokens: Tensor, segments: Option<Tensor>, length: i64) {
        self.tokens = Some(tokens);
        self.segments = segments;
        self.length = length;
    }
}

/// One layer's room, and how many tokens in it are valid.
#[derive(Debug)]
pub(crate) struct CacheSlot<'a> {
    layer: &'a mut LayerCache,
    length: i64,
}

impl CacheSlot<'_> {
    /// Stores new keys and values `[batch, kv heads, time, head_dim]` and gives all of them, `[.., length + time, ..]`.
    pub(crate) fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        // The old room stays until all of it has worked.
        let (key_room, value_room) = match &self.layer.room {
            Some((keys, values)) => (keys.shallow_clone(), values.shallow_clone()),
            None => (empty_like(keys, 0)?, empty_like(values, 0)?),
        };
        let (key_room, value_room) = (self.with_room(key_room, keys)?, self.with_room(value_room, values)?);
        let all = (self.write(&key_room, keys)?, self.write(&value_room, values)?);
        self.layer.room = Some((key_room, value_room));
        Ok(all)
    }

    /// `room`, or a larger one with the same tokens, if `new` does not fit in.
    fn with_room(&self, room: Tensor, new: &Tensor) -> Result<Tensor, TchError> {
        let capacity = room.size().get(2).copied().unwrap_or(0);
        let needed = self.length + new.size().get(2).copied().unwrap_or(0);
        if needed <= capacity {
            return Ok(room);
        }
        let larger = empty_like(new, needed.max(2 * capacity).max(MIN_CAPACITY))?;
        larger.f_narrow(2, 0, self.length)?.f_copy_(&room.f_narrow(2, 0, self.length)?)?;
        Ok(larger)
    }

    fn write(&self, room: &Tensor, new: &Tensor) -> Result<Tensor, TchError> {
        let time = new.size().get(2).copied().unwrap_or(0);
        room.f_narrow(2, self.length, time)?.f_copy_(new)?;
        room.f_narrow(2, 0, self.length + time)
    }
}

/// Room for `capacity` tokens such as those in `tensor [batch, heads, time, width]`.
fn empty_like(tensor: &Tensor, capacity: i64) -> Result<Tensor, TchError> {
    let mut size = tensor.size();
    if let Some(time) = size.get_mut(2) {
        *time = capacity;
    }
    Tensor::f_empty(size, (tensor.kind(), tensor.device()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn keys_that_do_not_fit_leave_the_room_as_it_was() {
        let new = |heads: i64, time: i64| Tensor::ones([1, heads, time, 4], (Kind::Float, Device::Cpu));
        let mut layer = LayerCache::default();
        let _all = CacheSlot { layer: &mut layer, length: 0 }.append(&new(2, 3), &new(2, 3)).unwrap();
        let mut slot = CacheSlot { layer: &mut layer, length: 3 };
        slot.append(&new(5, 1), &new(5, 1)).unwrap_err();
        slot.append(&new(2, 1), &new(5, 1)).unwrap_err();
        slot.append(&new(2, 200), &new(5, 200)).unwrap_err();
        let (keys, values) = slot.append(&new(2, 1), &new(2, 1)).unwrap();
        assert_eq!((keys, values), (new(2, 4), new(2, 4)));
    }
}
