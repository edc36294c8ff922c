//! Products of tiles of bf16 pairs with AMX: sixteen rows of activations meet sixteen columns, sixteen steps at a time.
//!
//! The layout of a panel is that of AMX's right sides: a row is a step, and a lane is a pair of terms. Sums are f32, as those of
//! AVX-512 BF16, whose arithmetic it is.
#![allow(
    unsafe_code,
    reason = "instructions that have no intrinsics; a value of `Amx` proves that the CPU has them"
)]

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::{Aligned, Begin, TERM_STEPS, TILE};
use crate::kernel::panel::PANEL;

/// Proof that the CPU has AMX with bf16, and that Linux lets this process use it; made by [`Amx::detect`] alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amx(());

impl Amx {
    /// The proof, if the CPU has the set.
    pub(crate) fn detect() -> Option<Self> {
        static DETECTED: OnceLock<bool> = OnceLock::new();
        DETECTED.get_or_init(|| has_instructions() && has_permission()).then_some(Self(()))
    }

    /// Sets the calling thread's tiles up, until the value is dropped, for so many rows of activations; where they are fewer than
    /// fill a tile, products with one tile of rows take less time.
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "the proof")]
    pub(crate) fn set_up(self, rows: usize) -> AmxSetUp {
        let of_rows = u8::try_from(rows.clamp(1, TILE)).unwrap_or(16);
        let mut configuration = Configuration([0; 64]);
        configuration.0[0] = PALETTE;
        for tile in 0..TILES {
            configuration.0[BYTES_IN_A_ROW + 2 * tile] = 64;
            configuration.0[ROWS + tile] = 16;
        }
        for tile in OF_ONE_TILE_OF_ROWS {
            configuration.0[ROWS + tile] = of_rows;
        }
        let mut before = Configuration([0; 64]);
        // SAFETY: `self` proves that the CPU has the instructions; both operands are of 64 bytes.
        unsafe {
            asm!("sttilecfg [{}]", in(reg) &raw mut before, options(nostack, preserves_flags));
            load(&configuration);
        }
        AmxSetUp { rows, before, of_this_thread: PhantomData }
    }
}

/// Tiles that a CPU has.
const TILES: usize = 8;

/// Sums and activations in [`one_by_two`].
const OF_ONE_TILE_OF_ROWS: [usize; 3] = [0, 1, 4];

/// The tiles' sizes, of a kilobyte at most.
const PALETTE: u8 = 1;

/// Where a configuration has the bytes in a row of each tile, two bytes each, and its rows.
const BYTES_IN_A_ROW: usize = 16;
const ROWS: usize = 48;

/// What `ldtilecfg` reads: a palette, and for each tile its bytes in a row and its rows.
#[repr(align(64))]
struct Configuration([u8; 64]);

/// # Safety
/// The CPU has the instruction, and the configuration is one that it wrote, or a valid one.
unsafe fn load(configuration: &Configuration) {
    // SAFETY: as promised by the caller. All zeros release the tiles.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) configuration, options(nostack, preserves_flags, readonly),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
    }
}

/// Tiles set up in the thread that holds this. They are put back as they were: libtorch's own products remember what they set up.
pub(crate) struct AmxSetUp {
    rows: usize,
    before: Configuration,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for AmxSetUp {
    fn drop(&mut self) {
        // SAFETY: the CPU wrote this configuration.
        unsafe { load(&self.before) }
    }
}

/// Instructions that may change all tiles.
macro_rules! product {
    ($($line:literal),+; $($operands:tt)+) => {
        asm!($($line),+, $($operands)+, options(nostack),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _)
    };
}

impl AmxSetUp {
    /// `c[:, column ..+ N] += a * panel`, or without what was there. Rows of `c` and steps of the panel are multiples of [`TILE`],
    /// `N` of twice as many columns. `a` is tile by tile: those of the first rows along the steps, then those of the next rows.
    #[inline(always)]
    pub(crate) fn add<const N: usize, const COLUMNS: usize>(
        &self,
        begin: Begin,
        a: &[Aligned<TILE>],
        panel: &[Aligned<N>],
        c: &mut [Aligned<COLUMNS>],
        column: usize,
    ) {
        const { assert!(N.is_multiple_of(2 * TILE), "pairs of tiles") };
        let steps = panel.len() / TILE;
        assert!(c.len().is_multiple_of(TILE) && panel.len() == steps * TILE && steps > 0, "whole tiles");
        assert!(
            a.len() == c.len() * steps && column + N <= COLUMNS,
            "a tile of `a` for each of the steps of rows"
        );
        assert!(self.rows >= TILE || c.len() == TILE, "one tile of rows where it is not full");
        for at in (0..N).step_by(2 * TILE) {
            let mut row = 0;
            while row < c.len() {
                let (left, right) = (a[row * steps..].as_ptr().cast(), panel.as_ptr().cast::<f32>());
                let sums = c[row..].as_mut_ptr().cast::<f32>();
                // SAFETY: by the checks above, the rows of two tiles, or of the last one, and all columns and steps are there.
                unsafe {
                    let (right, sums) = (right.add(at), sums.add(column + at));
                    if row + TILE < c.len() {
                        two_by_two(left, right, 4 * N, sums, 4 * COLUMNS, steps, begin);
                    } else {
                        one_by_two(left, right, 4 * N, sums, 4 * COLUMNS, steps, begin);
                    }
                }
                row += 2 * TILE;
            }
        }
    }
}

impl AmxSetUp {
    /// `sums[:, column ..+ PANEL] += a * panel` of numbers that are sums of terms, or without what was there: the first sums are
    /// those of products of first terms, the others those of all other products but the least, of third and second terms.
    ///
    /// `a` is tile by tile, as above, with all terms of a tile one after the other; `panel` is two panels of [`TERM_STEPS`], of which
    /// so many tiles are multiplied.
    #[inline(always)]
    pub(crate) fn add_terms<const COLUMNS: usize>(
        &self,
        begin: Begin,
        a: &[Aligned<TILE>],
        panel: &[Aligned<PANEL>],
        tiles: usize,
        [sums, small]: [&mut [Aligned<COLUMNS>]; 2],
        column: usize,
    ) {
        assert!(sums.len() == small.len() && sums.len().is_multiple_of(TILE), "rows of whole tiles");
        assert!(
            panel.len() == 2 * TERM_STEPS && (1..=TERM_STEPS / TILE).contains(&tiles),
            "steps of whole tiles"
        );
        assert!(self.rows >= TILE && column + PANEL <= COLUMNS, "full tiles, and columns that are there");
        let of_rows = a.len() / (sums.len() / TILE).max(1);
        let terms = of_rows / (tiles * TILE);
        assert!(
            (2..=3).contains(&terms) && a.len() == sums.len() * tiles * terms,
            "tiles of two or three terms"
        );
        for row in (0..sums.len()).step_by(TILE) {
            let left = a[row / TILE * of_rows..].as_ptr().cast();
            let right = panel.as_ptr().cast();
            let place = [&mut sums[row..], &mut small[row..]].map(|sums| sums[0].0[column..].as_mut_ptr());
            // SAFETY: by the checks above, the tiles' rows, all columns, steps and terms are there.
            unsafe { terms_of_one_by_two(left, terms, right, place, 4 * COLUMNS, tiles, begin) };
        }
    }
}

/// One tile of rows times two of columns, of numbers of so many terms; distances of rows in bytes. Meanwhile fetches sums of the
/// rows below.
///
/// # Safety
/// As [`two_by_two`], with `left` of tiles of terms, and `right` of two panels.
unsafe fn terms_of_one_by_two(
    left: *const f32,
    terms: usize,
    right: *const f32,
    [sums, small]: [*mut f32; 2],
    of_sums: usize,
    steps: usize,
    begin: Begin,
) {
    const TILE_BYTES: usize = TILE * BYTES;
    const SECOND_PANEL: usize = 4 * PANEL * TERM_STEPS;
    // SAFETY: as promised by the caller.
    unsafe {
        product!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {adds}, {adds}",
            "jz 2f",
            "tileloaddt1 tmm0, [{sums} + {of_sums}]",
            "tileloaddt1 tmm1, [{sums} + {of_sums} + 64]",
            "tileloaddt1 tmm2, [{small} + {of_sums}]",
            "tileloaddt1 tmm3, [{small} + {of_sums} + 64]",
            "2:",
            "prefetcht0 [{next}]",
            "prefetcht0 [{next} + 64]",
            "prefetcht0 [{next} + {of_sums}]",
            "prefetcht0 [{next} + {of_sums} + 64]",
            "lea {next}, [{next} + 2 * {of_sums}]",
            "prefetcht0 [{next_small}]",
            "prefetcht0 [{next_small} + 64]",
            "prefetcht0 [{next_small} + {of_sums}]",
            "prefetcht0 [{next_small} + {of_sums} + 64]",
            "lea {next_small}, [{next_small} + 2 * {of_sums}]",
            "tileloadd tmm6, [{right} + {of_right}]",
            "tileloadd tmm7, [{right} + {of_right} + 64]",
            "cmp {of_step}, {three}",
            "jne 3f",
            "tileloaddt1 tmm5, [{left} + {of_left} + 2 * {tile}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "3:",
            "tileloaddt1 tmm5, [{left} + {of_left} + {tile}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloaddt1 tmm4, [{left} + {of_left}]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm6, [{right} + {of_right} + {second}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm7, [{right} + {of_right} + {second} + 64]",
            "tdpbf16ps tmm2, tmm4, tmm6",
            "tdpbf16ps tmm3, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left}, {of_step}",
            "add {right}, {of_tile}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {of_sums}], tmm0",
            "tilestored [{sums} + {of_sums} + 64], tmm1",
            "tilestored [{small} + {of_sums}], tmm2",
            "tilestored [{small} + {of_sums} + 64], tmm3";
            tile = const TILE_BYTES,
            three = const 3 * TILE_BYTES,
            second = const SECOND_PANEL,
            of_tile = const TILE * 4 * PANEL,
            left = inout(reg) left => _,
            of_left = in(reg) BYTES,
            of_step = in(reg) terms * TILE_BYTES,
            right = inout(reg) right => _,
            of_right = in(reg) 4 * PANEL,
            sums = in(reg) sums,
            small = in(reg) small,
            next = inout(reg) sums.wrapping_byte_add(TILE * of_sums) => _,
            next_small = inout(reg) small.wrapping_byte_add(TILE * of_sums) => _,
            of_sums = in(reg) of_sums,
            steps = inout(reg) steps => _,
            adds = in(reg) usize::from(begin == Begin::Sums)
        );
    }
}

/// Bytes of a row of a tile.
const BYTES: usize = 64;

/// Two tiles of rows times two of columns; distances of rows in bytes. Meanwhile fetches sums of the rows below.
///
/// # Safety
/// The tiles are set up, and `steps` tiles along `left` and down `right` are there, and those of `sums`.
unsafe fn two_by_two(
    left: *const f32,
    right: *const f32,
    of_right: usize,
    sums: *mut f32,
    of_sums: usize,
    steps: usize,
    begin: Begin,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        let (below, sums_below) = (left.byte_add(TILE * BYTES * steps), sums.byte_add(TILE * of_sums));
        product!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {adds}, {adds}",
            "jz 2f",
            "tileloaddt1 tmm0, [{sums} + {of_sums}]",
            "tileloaddt1 tmm1, [{sums} + {of_sums} + 64]",
            "tileloaddt1 tmm2, [{sums_below} + {of_sums}]",
            "tileloaddt1 tmm3, [{sums_below} + {of_sums} + 64]",
            "2:",
            "prefetcht0 [{next}]",
            "prefetcht0 [{next} + 64]",
            "prefetcht0 [{next} + {of_sums}]",
            "prefetcht0 [{next} + {of_sums} + 64]",
            "lea {next}, [{next} + 2 * {of_sums}]",
            "tileloaddt1 tmm4, [{left} + {of_left}]",
            "tileloadd tmm6, [{right} + {of_right}]",
            "tileloadd tmm7, [{right} + {of_right} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloaddt1 tmm5, [{below} + {of_left}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left}, 1024",
            "add {below}, 1024",
            "add {right}, {of_tile}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {of_sums}], tmm0",
            "tilestored [{sums} + {of_sums} + 64], tmm1",
            "tilestored [{sums_below} + {of_sums}], tmm2",
            "tilestored [{sums_below} + {of_sums} + 64], tmm3";
            left = inout(reg) left => _,
            below = inout(reg) below => _,
            of_left = in(reg) BYTES,
            right = inout(reg) right => _,
            of_right = in(reg) of_right,
            of_tile = in(reg) TILE * of_right,
            sums = in(reg) sums,
            sums_below = in(reg) sums_below,
            next = inout(reg) sums_below.wrapping_byte_add(TILE * of_sums) => _,
            of_sums = in(reg) of_sums,
            steps = inout(reg) steps => _,
            adds = in(reg) usize::from(begin == Begin::Sums)
        );
    }
}

/// One tile of rows times two of columns.
///
/// # Safety
/// As [`two_by_two`].
unsafe fn one_by_two(
    left: *const f32,
    right: *const f32,
    of_right: usize,
    sums: *mut f32,
    of_sums: usize,
    steps: usize,
    begin: Begin,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        product!(
            "tilezero tmm0",
            "tilezero tmm1",
            "test {adds}, {adds}",
            "jz 2f",
            "tileloaddt1 tmm0, [{sums} + {of_sums}]",
            "tileloaddt1 tmm1, [{sums} + {of_sums} + 64]",
            "2:",
            "tileloaddt1 tmm4, [{left} + {of_left}]",
            "tileloadd tmm6, [{right} + {of_right}]",
            "tileloadd tmm7, [{right} + {of_right} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {left}, 1024",
            "add {right}, {of_tile}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {of_sums}], tmm0",
            "tilestored [{sums} + {of_sums} + 64], tmm1";
            left = inout(reg) left => _,
            of_left = in(reg) BYTES,
            right = inout(reg) right => _,
            of_right = in(reg) of_right,
            of_tile = in(reg) TILE * of_right,
            sums = in(reg) sums,
            of_sums = in(reg) of_sums,
            steps = inout(reg) steps => _,
            adds = in(reg) usize::from(begin == Begin::Sums)
        );
    }
}

/// Whether CPU and kernel have AMX with bf16.
fn has_instructions() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const TILE_STATE: u64 = 0b11 << 17;
    #[target_feature(enable = "xsave")]
    fn enabled() -> u64 {
        // SAFETY: register 0 is there wherever the instruction is.
        unsafe { _xgetbv(0) }
    }
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    // SAFETY: OSXSAVE says that the instruction is there.
    features & AMX_BF16 != 0 && features & AMX_TILE != 0 && unsafe { enabled() } & TILE_STATE == TILE_STATE
}

/// Asks Linux for the tiles' state, eight kilobytes a thread, for the whole process.
fn has_permission() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call changes nothing in the program's memory.
    unsafe {
        asm!("syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact numbers")]
mod tests {
    use super::*;

    /// bf16 of small integers, in pairs: exact in every product and sum.
    fn pairs<const N: usize>(rows: usize, first: usize) -> Vec<Aligned<N>> {
        let number = |at: usize| {
            let number = [-4.0, 3.0, 1.0, -1.0, 2.0, 0.0, -3.0, 4.0, -2.0][(at * 7 + first) % 9];
            u32::from(half::bf16::from_f32(number).to_bits())
        };
        let row = |row: usize| {
            let pair = |lane: usize| number(2 * (row * N + lane)) | number(2 * (row * N + lane) + 1) << 16;
            Aligned(std::array::from_fn(|lane| f32::from_bits(pair(lane))))
        };
        (0..rows).map(row).collect()
    }

    fn terms(pair: f32) -> [f32; 2] {
        [pair.to_bits() << 16, pair.to_bits() & 0xffff_0000].map(f32::from_bits)
    }

    #[test]
    fn products_of_tiles_are_those_of_their_pairs_and_tiles_are_put_back_as_they_were() {
        let Some(amx) = Amx::detect() else { return };
        let outer = amx.set_up(3);
        for (rows, steps) in [(16, 16), (32, 16), (48, 48), (80, 32)] {
            let (a, panel) = (pairs::<TILE>(rows * steps / TILE, 1), pairs::<64>(steps, 5));
            let mut c = vec![Aligned([1.0f32; 128]); rows];
            let inner = amx.set_up(rows);
            inner.add(Begin::Zero, &a, &panel, &mut c, 64);
            inner.add(Begin::Sums, &a, &panel, &mut c, 64);
            for (row, c) in c.iter().enumerate() {
                assert!(c.0[..64].iter().all(|c| *c == 1.0));
                for column in 0..64 {
                    let product = |step: usize| {
                        let left = a[row / TILE * steps + step / TILE * TILE + row % TILE].0[step % TILE];
                        let (left, right) = (terms(left), terms(panel[step].0[column]));
                        left[0] * right[0] + left[1] * right[1]
                    };
                    let sum: f32 = (0..steps).map(product).sum();
                    assert_eq!(c.0[64 + column], 2.0 * sum, "{rows} rows, {steps} steps, [{row}, {column}]");
                }
            }
        }
        // Tiles of three rows again.
        let (a, panel) = (pairs::<TILE>(16, 1), pairs::<32>(16, 5));
        let mut c = vec![Aligned([f32::NAN; 32]); 16];
        outer.add(Begin::Zero, &a, &panel, &mut c, 0);
        for (row, c) in c.iter().enumerate() {
            assert!(c.0.iter().all(|c| c.is_nan() == (row >= 3)), "row {row}");
        }
    }
}
