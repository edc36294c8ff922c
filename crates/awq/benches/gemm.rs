//! `WQLinear_GEMM` beside what else libtorch offers for the same product, measured side by side in one run.
//!
//! `cargo xtask bench [-- ROWS...]` prints the table in Markdown. Contenders of a row take turns, so that a change of the
//! machine's clock meets all of them; each figure is the median of the turns. Ratios are times of the other divided by
//! times of ours: above 1 ours is faster.

use qtuner_awq::{WqLinearGemm, unpack};
use qtuner_core::{Layer, QuantBackend};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

const FEATURES: i64 = 4096;
const GROUP: i64 = 128;
const ROWS: [i64; 7] = [1, 4, 16, 64, 128, 256, 512];

/// How long the contenders of one row of the table are measured in all.
const BUDGET: Duration = Duration::from_secs(4);

type Contender<'a> = (&'static str, Box<dyn Fn() -> Tensor + 'a>);

fn main() {
    let rows: Vec<i64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let rows = if rows.is_empty() { ROWS.to_vec() } else { rows };
    tch::manual_seed(1);
    let weight = Tensor::randn([FEATURES, FEATURES], (Kind::Float, Device::Cpu)) * 0.02;
    let layer = match WqLinearGemm::from_dense(&weight, None, GROUP, Kind::Half) {
        Ok(layer) => layer,
        Err(error) => return eprintln!("{error}"),
    };
    println!("`{layer:?}`, {} threads, times in ms, medians.", tch::get_num_threads());
    for kind in [Kind::Float, Kind::BFloat16] {
        let bench = Bench::new(&layer, kind);
        println!("\n### {kind:?} input\n");
        println!(
            "| rows | ours | dequantize + matmul | ATen int4 | dense {kind:?} | ours / best other | ours backward | dense backward |"
        );
        println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
        for &rows in &rows {
            bench.print_row(rows);
        }
    }
}

/// One dtype's layers.
struct Bench<'a> {
    layer: &'a WqLinearGemm,
    kind: Kind,
    dense: Tensor,
    int4_weight: Tensor,
    int4_scales: Tensor,
}

impl<'a> Bench<'a> {
    fn new(layer: &'a WqLinearGemm, kind: Kind) -> Self {
        let expect = "the layer is a valid one";
        let codes = unpack(layer.qweight()).expect(expect).transpose(0, 1).contiguous();
        let zeros = unpack(layer.qzeros()).expect(expect).to_kind(Kind::Float);
        let scales = layer.scales().to_kind(Kind::Float);
        let offsets = (zeros.f_neg().expect(expect) + 8.0) * &scales;
        Self {
            layer,
            kind,
            dense: layer.dequantize(kind).expect(expect),
            int4_weight: codes.internal_convert_weight_to_int4pack_for_cpu(2),
            int4_scales: Tensor::stack(&[scales, offsets], 2).to_kind(kind).contiguous(),
        }
    }

    fn print_row(&self, rows: i64) {
        let x = Tensor::randn([rows, FEATURES], (Kind::Float, Device::Cpu)).to_kind(self.kind);
        let tracked = x.copy().set_requires_grad(true);
        let y = self.layer.forward(&tracked).expect("the input fits");
        let y_dense = tracked.linear(&self.dense, None::<&Tensor>);
        let grad = y.ones_like();
        let gradient = |y: &Tensor| {
            // The sum's gradient is one, so the product's backward is what is timed.
            Tensor::run_backward(&[(y * &grad).sum(self.kind)], &[&tracked], true, false).remove(0)
        };
        let contenders: Vec<Contender<'_>> = vec![
            ("ours", Box::new(|| self.layer.forward(&x).expect("the input fits"))),
            (
                "dequantize",
                Box::new(|| x.matmul(&self.layer.dequantize_gemm().expect("it fits").to_kind(self.kind))),
            ),
            (
                "int4",
                Box::new(|| {
                    x.internal_weight_int4pack_mm_for_cpu(&self.int4_weight, GROUP, &self.int4_scales)
                }),
            ),
            ("dense", Box::new(|| x.linear(&self.dense, None::<&Tensor>))),
            ("ours backward", Box::new(|| gradient(&y))),
            ("dense backward", Box::new(|| gradient(&y_dense))),
        ];
        let times = medians(&contenders);
        let best = times[1].min(times[2]).min(times[3]);
        println!(
            "| {rows} | {:.2} | {:.2} ({:.1}x) | {:.2} ({:.1}x) | {:.2} ({:.2}x) | {:.2}x | {:.2} | {:.2} ({:.2}x) |",
            times[0],
            times[1],
            times[1] / times[0],
            times[2],
            times[2] / times[0],
            times[3],
            times[3] / times[0],
            best / times[0],
            times[4],
            times[5],
            times[5] / times[4],
        );
    }
}

/// The median time of each contender in milliseconds; they take turns.
fn medians(contenders: &[Contender<'_>]) -> Vec<f64> {
    let mut times = vec![Vec::new(); contenders.len()];
    let start = Instant::now();
    let mut turns = 0;
    while turns < 3 || (start.elapsed() < BUDGET && turns < 200) {
        for ((_, run), times) in contenders.iter().zip(&mut times) {
            let start = Instant::now();
            let _ = std::hint::black_box(run());
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        turns += 1;
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect()
}
