//! The one test of this program: libtorch has one random generator for all threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use qtuner_core::{InitLoraWeights, LoraConfig, inject_adapter, model};
use support::Model;
use tch::Tensor;

#[test]
fn adapters_start_as_peft_draws_them() {
    // Fixture of `tests/fixtures/make_lora_init.py`: torch.manual_seed(7), then PEFT over a linear layer of 8 x 8.
    let fixture = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/lora_init.safetensors");
    let expected: std::collections::BTreeMap<_, _> =
        Tensor::read_safetensors(fixture).unwrap().into_iter().collect();
    for (init, name) in [
        (InitLoraWeights::True, "true"),
        (InitLoraWeights::False, "false"),
        (InitLoraWeights::Gaussian, "gaussian"),
    ] {
        for lora_bias in [false, true] {
            if lora_bias && name == "gaussian" {
                continue;
            }
            let mut config =
                LoraConfig::new(["q_proj", "v_proj"]).with_rank(2).with_init_lora_weights(init.clone());
            config.lora_bias = lora_bias;
            let mut model = Model::new(2);
            tch::manual_seed(7);
            inject_adapter(&mut model, &config, "default").unwrap();
            let suffix = if lora_bias { "_bias" } else { "" };
            let variables: std::collections::BTreeMap<_, _> =
                model::var_store(&model).unwrap().variables().into_iter().collect();
            for (path, tensor) in variables {
                let key = format!(
                    "{name}{suffix}.{}",
                    path.replace(".default", "").replace("model.layers", "layers")
                );
                assert_eq!(tensor, expected[&key], "{key}");
            }
        }
    }
}
