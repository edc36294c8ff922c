//! The named slots and parameters of a model.
//!
//! Names are Hugging Face's: `model.layers.0.self_attn.q_proj`. A model derives [`ModuleTree`]; a field that is neither
//! a tree nor marked `#[module(skip)]` does not compile, so that no child is forgotten.

mod containers;
mod leaves;
mod path;

pub use leaves::{LeafList, Leaves, LeavesMut};
pub use path::ModulePath;

/// Walks a model's slots and parameters by name, in field order.
///
/// Derive it with `#[derive(ModuleTree)]` for structs and enums; `Vec`, `Option`, `Box`, arrays and maps of trees are
/// trees, and so are [`Slot`](crate::Slot), `tch::Tensor` and the parameter-holding layers of `tch::nn`. Attributes of
/// a field: `#[module(skip)]`, `#[module(rename = "q_proj")]`, `#[module(head)]` for the output head, which `all-linear`
/// leaves out.
///
/// ```
/// use qtuner_core::{Linear, ModuleTree, Slot};
/// use tch::{Device, Kind, Tensor};
///
/// #[derive(ModuleTree)]
/// struct Mlp {
///     up_proj: Slot,
///     down_proj: Slot,
///     #[module(skip)]
///     hidden: i64,
/// }
///
/// # fn slot(out: i64, input: i64) -> Slot {
/// #     Linear::new(Tensor::ones([out, input], (Kind::Float, Device::Cpu)), None).unwrap().into()
/// # }
/// #[derive(ModuleTree)]
/// struct Model {
///     layers: Vec<Mlp>,
///     norm: Tensor,
/// }
///
/// let mlp = Mlp { up_proj: slot(8, 4), down_proj: slot(4, 8), hidden: 8 };
/// let model = Model { layers: vec![mlp], norm: Tensor::ones([4], (Kind::Float, Device::Cpu)) };
/// let names: Vec<_> = model.collect_leaves().slots.into_iter().map(|(name, _)| name.to_string()).collect();
/// assert_eq!(names, ["layers.0.up_proj", "layers.0.down_proj"]);
/// ```
///
/// A field that holds no tree and is not skipped does not compile:
///
/// ```compile_fail
/// #[derive(qtuner_core::ModuleTree)]
/// struct Model {
///     up_proj: qtuner_core::Slot,
///     forgotten: std::cell::Cell<Option<qtuner_core::Slot>>,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module tree",
    label = "this field can hold no slots that qtuner knows of",
    note = "derive it (`#[derive(ModuleTree)]` on `{Self}`) or leave the field out with `#[module(skip)]`"
)]
pub trait ModuleTree {
    /// Appends the leaves below `path`, in field order.
    fn leaves<'m>(&'m self, path: &ModulePath, leaves: &mut Leaves<'m>);

    /// Appends the leaves below `path`, in field order, to be changed.
    fn leaves_mut<'m>(&'m mut self, path: &ModulePath, leaves: &mut LeavesMut<'m>);

    /// All leaves of the model, named from its root.
    fn collect_leaves(&self) -> Leaves<'_> {
        let mut leaves = Leaves::default();
        self.leaves(&ModulePath::root(), &mut leaves);
        leaves
    }

    /// All leaves of the model, named from its root, to be changed; each slot learns its name.
    fn collect_leaves_mut(&mut self) -> LeavesMut<'_> {
        let mut leaves = LeavesMut::default();
        self.leaves_mut(&ModulePath::root(), &mut leaves);
        leaves
    }
}
