//! Two AWQ layers in slots, an adapter, a few steps of AdamW, and the adapter on disk: the README's lines, to run.
//!
//! `cargo run --release -p qtuner-awq --example tune [FOLDER]`

use qtuner_awq::WqLinearGemm;
use qtuner_core::{LayerError, LoraConfig, ModuleTree, Slot, inject_adapter, save_adapter};
use std::error::Error;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

#[derive(ModuleTree)]
struct Mlp {
    up_proj: Slot,
    down_proj: Slot,
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor, LayerError> {
        self.down_proj.forward(&self.up_proj.forward(x)?.silu())
    }
}

/// A packed layer of random weights; a checkpoint's tensors go through `WqLinearGemm::from_tensors`.
fn awq(out_features: i64, in_features: i64) -> Result<Slot, Box<dyn Error>> {
    let weight = Tensor::randn([out_features, in_features], (Kind::Float, Device::Cpu)) * 0.05;
    Ok(WqLinearGemm::from_dense(&weight, None, 128, Kind::Half)?.into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder =
        std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("qtuner-adapter"), Into::into);
    tch::manual_seed(1);
    let mut model = Mlp { up_proj: awq(1024, 256)?, down_proj: awq(256, 1024)? };
    let report = inject_adapter(&mut model, &LoraConfig::new("all-linear").with_rank(8), "default")?;
    println!("{report}\n");

    let mut optimizer = nn::AdamW::default().build(&report.var_store(), 1e-3)?;
    let x = Tensor::randn([64, 256], (Kind::Float, Device::Cpu));
    for step in 0..=100 {
        let loss = (model.forward(&x)? - &x).square().mean(Kind::Float); // learn the identity
        optimizer.backward_step(&loss);
        if step % 25 == 0 {
            println!("step {step:>3}  loss {:.4}", loss.double_value(&[]));
        }
    }
    save_adapter(&model, "default", &folder)?;
    println!("\nsaved {}", folder.display());
    Ok(())
}
