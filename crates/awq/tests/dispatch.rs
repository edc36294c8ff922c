//! What `dispatch_awq` claims, refuses and shares; as a function and through the registry.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qtuner_awq::{AwqLoraLinear, DISPATCHER, WqLinearGemm, dispatch_awq};
use qtuner_core::registry::Claim;
use qtuner_core::{
    BaseTunerLayer, Capabilities, DispatchError, Dispatcher, Layer, LayerError, Linear, LoraConfig,
    LoraLinear, LoraOptions, MergeCheck, Package, QuantBackend, Registry, TunerError, dense,
};
use semver::Version;
use tch::{Device, Kind, Tensor};

fn awq() -> WqLinearGemm {
    tch::manual_seed(5);
    WqLinearGemm::from_dense(&Tensor::randn([16, 64], (Kind::Float, Device::Cpu)), None, 32, Kind::Half)
        .unwrap()
}

fn options() -> LoraOptions {
    LoraOptions::default().with_rank(4)
}

/// An AWQ layer of another package, or of another layout.
#[derive(Debug)]
struct Foreign {
    layer: WqLinearGemm,
    version: Version,
    kind: &'static str,
}

impl Foreign {
    fn new(version: Version, kind: &'static str) -> Self {
        Self { layer: awq(), version, kind }
    }
}

impl Layer for Foreign {
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        self.layer.forward(x)
    }

    fn in_features(&self) -> i64 {
        self.layer.in_features()
    }

    fn out_features(&self) -> i64 {
        self.layer.out_features()
    }

    fn kind_name(&self) -> &'static str {
        self.kind
    }

    fn device(&self) -> Device {
        self.layer.device()
    }

    fn named_tensors(&self) -> Vec<(&'static str, Tensor)> {
        self.layer.named_tensors()
    }

    fn shallow_clone(&self) -> Box<dyn Layer> {
        Box::new(Self { layer: awq(), version: self.version.clone(), kind: self.kind })
    }

    fn as_quantized(&self) -> Option<&dyn QuantBackend> {
        Some(self)
    }
}

impl QuantBackend for Foreign {
    fn format(&self) -> &'static str {
        "awq"
    }

    fn package(&self) -> Package {
        Package { name: "autoawq".to_owned(), version: self.version.clone() }
    }

    fn dequantize(&self, kind: Kind) -> Result<Tensor, LayerError> {
        self.layer.dequantize(kind)
    }

    fn qweight(&self) -> Tensor {
        QuantBackend::qweight(&self.layer)
    }

    fn capabilities(&self) -> Capabilities {
        self.layer.capabilities()
    }
}

#[test]
fn an_awq_layer_is_wrapped_and_its_qweight_shared() {
    let layer = awq();
    let wrapper = dispatch_awq(&layer, "default", options()).unwrap().unwrap();
    assert_eq!(wrapper.qweight().data_ptr(), layer.qweight().data_ptr());
    assert!(std::ptr::eq(wrapper.quant_linear_module(), wrapper.base_layer()));
    assert_eq!(wrapper.kind_name(), "lora.AwqLoraLinear");
    let x = Tensor::randn([3, 64], (Kind::Float, Device::Cpu));
    assert_eq!(wrapper.forward(&x).unwrap(), layer.forward(&x).unwrap());
}

#[test]
fn other_layers_are_left_alone() {
    let dense = Linear::new(Tensor::randn([16, 64], (Kind::Float, Device::Cpu)), None).unwrap();
    assert!(dispatch_awq(&dense, "default", options()).unwrap().is_none());
    assert_eq!(DISPATCHER.claims(&dense), Claim::No);
    let gemv = Foreign::new(Version::new(0, 2, 9), "WQLinear_GEMV");
    assert!(dispatch_awq(&gemv, "default", options()).unwrap().is_none());
    let registry = Registry::new([DISPATCHER, dense::DISPATCHER]).unwrap();
    let error = registry.dispatcher_for("up_proj", &gemv, &options()).unwrap_err().to_string();
    assert!(error.contains("`up_proj`") && error.contains("another layout than WQLinear_GEMM"), "{error}");
    assert!(error.contains("linked: awq, linear"), "{error}");
}

#[test]
fn a_package_older_than_0_2_0_is_refused_at_dispatch() {
    for (version, fits) in
        [("0.1.8", false), ("0.2.0-rc.1", false), ("0.2.0", true), ("0.2.9", true), ("1.0.0", true)]
    {
        let layer = Foreign::new(Version::parse(version).unwrap(), "WQLinear_GEMM");
        match dispatch_awq(&layer, "default", options()) {
            Ok(Some(_)) => assert!(fits, "{version}"),
            Err(DispatchError::IncompatibleVersion { found, expected, .. }) => {
                assert!(
                    !fits && found == format!("autoawq {version}") && expected == "at least 0.2.0",
                    "{found} {expected}"
                );
            }
            other => panic!("{version}: {other:?}"),
        }
    }
}

#[test]
fn a_tuner_layer_is_looked_through_to_its_base() {
    let layer = awq();
    let address = layer.qweight().data_ptr();
    let inner = LoraLinear::new(Box::new(layer), "inner", options()).unwrap();
    let outer = dispatch_awq(&inner, "outer", options()).unwrap().unwrap();
    assert_eq!(outer.qweight().data_ptr(), address);
    assert_eq!(outer.base_layer().as_tuner().unwrap().adapter_names(), ["inner"]);
    assert_eq!(outer.adapter_names(), ["outer"]);
}

#[test]
fn options_that_awq_cannot_have_are_typed_errors() {
    let mut config = LoraConfig::new(["q_proj"]);
    config.use_dora = true;
    let error = dispatch_awq(&awq(), "default", &config).unwrap_err();
    assert!(matches!(error, DispatchError::UnsupportedOption { backend: "awq", .. }), "{error}");

    let mut dora = options();
    dora.use_dora = true;
    assert!(matches!(
        AwqLoraLinear::new(Box::new(awq()), "default", dora),
        Err(TunerError::UnsupportedOption { .. })
    ));
    for rank in [0, -1] {
        let error = AwqLoraLinear::new(Box::new(awq()), "default", LoraOptions::default().with_rank(rank))
            .unwrap_err();
        assert!(matches!(error, TunerError::Rank { .. }), "{error}");
    }
    let dense = Linear::new(Tensor::randn([16, 64], (Kind::Float, Device::Cpu)), None).unwrap();
    assert!(AwqLoraLinear::new(Box::new(dense), "default", options()).is_err());
}

#[test]
fn the_constructor_defaults_are_pefts() {
    let defaults = LoraOptions::default();
    assert_eq!((defaults.rank, defaults.lora_alpha, defaults.lora_dropout), (0, 1.0, 0.0));
    assert_eq!((defaults.use_rslora, defaults.use_dora, defaults.lora_bias), (false, false, false));
    assert_eq!(defaults.init_lora_weights, qtuner_core::InitLoraWeights::True);
    assert!(matches!(
        AwqLoraLinear::new(Box::new(awq()), "default", defaults),
        Err(TunerError::Rank { rank: 0, .. })
    ));
}

#[test]
fn merging_is_refused_and_nothing_changes() {
    let mut wrapper = dispatch_awq(&awq(), "default", options()).unwrap().unwrap();
    let x = Tensor::randn([3, 64], (Kind::Float, Device::Cpu));
    let before = wrapper.forward(&x).unwrap();
    let error = wrapper.merge(&["default"], MergeCheck::Unchecked).unwrap_err();
    assert!(matches!(error, TunerError::MergeUnsupported { .. }), "{error}");
    assert!(error.to_string().contains("WQLinear_GEMM(in_features=64"), "{error}");
    assert!(wrapper.merged_adapters().is_empty());
    assert_eq!(wrapper.forward(&x).unwrap(), before);
}

#[test]
fn the_linked_registry_asks_awq_before_dense() {
    let registry = Registry::linked().unwrap();
    registry.expect(&["awq", "linear"]).unwrap();
    let names: Vec<_> = registry.dispatchers().iter().map(Dispatcher::name).collect();
    assert_eq!(names, ["awq", "linear"]);
    let wrapper = registry.wrap("up", &awq(), "default", &options()).unwrap();
    assert!(format!("{wrapper:?}").starts_with("lora.AwqLoraLinear(base_layer=WQLinear_GEMM("));
    assert_eq!(wrapper.scaling("default"), Some(0.25));
}
