//! Checkpoint layers: who is asked, in which order, and what is said when nobody takes one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_core::registry::{LayerSource, ReadTensor, TensorInfo};
use qtuner_core::{Dispatcher, Layer, LayerError, Linear, LoadError, Registry, dense, source};
use serde_json::{Value, json};
use tch::{Device, Kind, TchError, Tensor};

/// Zeros of the shapes that the source describes.
struct Zeros(Vec<(&'static str, Kind, Vec<i64>)>);

impl ReadTensor for Zeros {
    fn read(&self, name: &str, kind: Option<Kind>, device: Device) -> Result<Tensor, LoadError> {
        let (_, stored, shape) = self.0.iter().find(|(part, ..)| name == format!("up.{part}")).unwrap();
        let zeros = Tensor::f_zeros(shape.as_slice(), (kind.unwrap_or(*stored), device));
        zeros.map_err(|error: TchError| LoadError::Read {
            file: "model.safetensors".into(),
            tensor: name.to_owned(),
            reason: error.to_string(),
        })
    }
}

impl Zeros {
    fn source<'a>(&'a self, quantization_config: Option<&'a Value>) -> LayerSource<'a> {
        let info = |(name, kind, shape): &(&str, Kind, Vec<i64>)| {
            let dtype = format!("{kind:?}");
            let info = TensorInfo {
                file: "model.safetensors".into(),
                dtype,
                kind: Some(*kind),
                shape: shape.clone(),
            };
            ((*name).to_owned(), info)
        };
        LayerSource {
            path: "up",
            tensors: self.0.iter().map(info).collect(),
            quantization_config,
            compute_kind: Kind::Float,
            device: Device::Cpu,
            reader: self,
        }
    }
}

fn load(registry: &Registry, tensors: &Zeros, config: Option<&Value>) -> Result<Box<dyn Layer>, LoadError> {
    registry.load_layer(&tensors.source(config))
}

fn dense_only() -> Registry {
    Registry::new([dense::DISPATCHER]).unwrap()
}

#[test]
fn a_dense_layer_is_loaded_in_the_compute_dtype() {
    let tensors = Zeros(vec![("weight", Kind::Half, vec![3, 4]), ("bias", Kind::Half, vec![3])]);
    let layer = load(&dense_only(), &tensors, None).unwrap();
    assert_eq!((layer.in_features(), layer.out_features(), layer.kind_name()), (4, 3, "Linear"));
    assert!(layer.named_tensors().iter().all(|(_, tensor)| tensor.kind() == Kind::Float));
}

#[test]
fn a_layer_that_nobody_takes_is_named_with_its_tensors_and_the_way_out() {
    let qweight = ("qweight", Kind::Int, vec![16, 8]);
    let cases = [
        (vec![qweight.clone()], None, "awq: no backend linked", "use qtuner_awq as _;"),
        (
            vec![qweight.clone(), ("scales", Kind::Half, vec![2, 8])],
            None,
            "gptq: no backend linked",
            "use qtuner_gptq as _;",
        ),
        (vec![qweight], Some(json!({"quant_method": "hqq"})), "hqq: no backend linked", "no backend crate"),
        (
            vec![("weight", Kind::Uint8, vec![6, 1]), ("weight.absmax", Kind::Float, vec![1])],
            None,
            "bitsandbytes: no backend linked",
            "use qtuner_nf4 as _;",
        ),
        (vec![("weight", Kind::Uint8, vec![3, 4])], None, "weight Uint8 [3, 4]", "may be damaged"),
    ];
    for (tensors, config, format, hint) in cases {
        let error = load(&dense_only(), &Zeros(tensors), config.as_ref()).unwrap_err().to_string();
        for part in ["model.safetensors: `up`", "linked: linear", format, hint] {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
    }
}

#[test]
fn a_tensor_of_a_wrong_shape_is_an_error_and_not_another_backends_layer() {
    let tensors = Zeros(vec![("weight", Kind::Float, vec![12])]);
    let error = load(&dense_only(), &tensors, None).unwrap_err();
    assert!(matches!(&error, LoadError::Layer { source: LayerError::Tensor { .. }, .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors: `up`"), "{error}");
}

const fn entry(name: &'static str) -> Dispatcher {
    Dispatcher::new(
        name,
        source!(),
        |_| qtuner_core::registry::Claim::No,
        |_, _| Ok(()),
        |layer, adapter, options| dense::DISPATCHER.wrap(layer, adapter, options),
    )
}

#[test]
fn loaders_are_asked_by_priority_and_one_that_panics_is_named() {
    let first = entry("first").with_loader(|source| {
        let weight = source.tensor("weight").unwrap().ones_like();
        Ok(Some(Box::new(Linear::new(weight, None).map_err(LoadError::layer(source))?)))
    });
    let without = entry("without").with_priority(9);
    let panics = entry("panics").with_priority(5).with_loader(|_| panic!("on purpose"));
    let tensors = Zeros(vec![("weight", Kind::Float, vec![3, 4])]);

    let registry = Registry::new([dense::DISPATCHER, first, without]).unwrap();
    let layer = load(&registry, &tensors, None).unwrap();
    let weight = &layer.named_tensors()[0].1;
    assert!(weight.equal(&weight.ones_like()), "the one of the higher priority made it");

    let registry = Registry::new([dense::DISPATCHER, first, panics]).unwrap();
    let error = load(&registry, &tensors, None).unwrap_err().to_string();
    assert_eq!(error, "`up`: the loader of \"panics\" panicked: on purpose");
}

#[test]
fn a_missing_tensor_is_named_in_full() {
    let tensors = Zeros(vec![("weight", Kind::Float, vec![3, 4])]);
    let error = tensors.source(None).tensor("scales").unwrap_err().to_string();
    assert_eq!(error, "model.safetensors: `up`: tensor `up.scales` is missing, found weight Float [3, 4]");
    assert!(tensors.source(None).optional_tensor("scales").unwrap().is_none());
}
