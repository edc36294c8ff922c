//! One call, as C++ makes it, and how it is cut into tiles.

use std::ffi::c_void;
use std::ops::Range;
use std::slice;

/// Queries of a tile; mirrored in `attention.cpp`.
pub(super) const QUERIES: usize = 64;

/// Keys of a tile; mirrored in `attention.cpp`.
pub(super) const KEYS: usize = 128;

/// A tensor `[batch, heads, time, width]` whose rows are contiguous; mirrored in `attention.cpp`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    data: *mut c_void,
    /// Elements from one text, one head and one row to the next.
    strides: [i64; 3],
}

/// A head of a text: where in a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) text: usize,
    pub(super) head: usize,
}

/// Operands and results on the C++ side, which owns them until the call returns; mirrored in `attention.cpp`. What a stage
/// does not need is null.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Call {
    pub(super) query: Rows,
    pub(super) key: Rows,
    pub(super) value: Rows,
    pub(super) out: Rows,
    pub(super) grad_out: Rows,
    pub(super) grad_query: Rows,
    pub(super) grad_key: Rows,
    pub(super) grad_value: Rows,
    /// Added to the scores: a row of keys for each query of each text.
    mask: *const c_void,
    mask_strides: [i64; 2],
    /// `[batch, heads, queries]`: the logarithm, to the base 2, of the sum of a query's weights before they are normalised.
    logs: *mut f32,
    /// Right sides of products by key head and block of keys, see `pack`.
    pub(super) keys_turned: *mut c_void,
    pub(super) values_turned: *mut c_void,
    pub(super) keys_paired: *mut c_void,
    pub(super) values_paired: *mut c_void,
    /// Gradients of the keys and values of a block, turned, for one query head each: `[key heads of all texts from `first` on,
    /// query heads of each, blocks of keys, width, KEYS]`.
    key_sums: *mut f32,
    value_sums: *mut f32,
    pub(super) batch: i64,
    pub(super) heads: i64,
    pub(super) key_heads: i64,
    pub(super) queries: i64,
    pub(super) keys: i64,
    pub(super) width: i64,
    pub(super) first: i64,
    pub(super) scale: f32,
    /// Zero for none.
    pub(super) softcap: f32,
    /// Of everything but logarithms and sums.
    pub(super) dtype: i32,
}

/// Sizes are never negative.
pub(super) fn size(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}

impl Rows {
    fn at<T>(&self, of: Head, row: usize) -> *mut T {
        let [text, head, time] = self.strides.map(size);
        self.data.cast::<T>().wrapping_add(of.text * text + of.head * head + row * time)
    }

    /// # Safety
    /// The row is there, of this width and dtype, and nothing writes it meanwhile.
    pub(super) unsafe fn row<'a, T>(&self, of: Head, row: usize, width: usize) -> &'a [T] {
        // SAFETY: as promised by the caller.
        unsafe { slice::from_raw_parts(self.at(of, row), width) }
    }

    /// # Safety
    /// The row is there, of this width and dtype, and nothing else refers to it meanwhile.
    pub(super) unsafe fn row_mut<'a, T>(&self, of: Head, row: usize, width: usize) -> &'a mut [T] {
        // SAFETY: as promised by the caller.
        unsafe { slice::from_raw_parts_mut(self.at(of, row), width) }
    }
}

impl Call {
    pub(super) fn width(&self) -> usize {
        size(self.width)
    }

    /// Query heads of a key head.
    pub(super) fn group(&self) -> usize {
        size(self.heads) / size(self.key_heads)
    }

    /// Blocks of keys.
    pub(super) fn key_blocks(&self) -> usize {
        size(self.keys).div_ceil(KEYS)
    }

    /// Blocks of queries.
    pub(super) fn query_blocks(&self) -> usize {
        size(self.queries).div_ceil(QUERIES)
    }

    /// The keys of a block.
    pub(super) fn block_keys(&self, block: usize) -> Range<usize> {
        block * KEYS..size(self.keys).min((block + 1) * KEYS)
    }

    /// The queries of a block.
    pub(super) fn block_queries(&self, block: usize) -> Range<usize> {
        block * QUERIES..size(self.queries).min((block + 1) * QUERIES)
    }

    /// How many keys a query sees at most.
    pub(super) fn seen(&self, query: usize) -> usize {
        (query + 1 + size(self.keys - self.queries)).min(size(self.keys))
    }

    /// Blocks of keys that some query of a block sees.
    pub(super) fn seen_blocks(&self, block: usize) -> usize {
        self.seen(self.block_queries(block).end - 1).div_ceil(KEYS)
    }

    /// The key head with this number among those of all texts.
    pub(super) fn key_head(&self, pair: usize) -> Head {
        Head { text: pair / size(self.key_heads), head: pair % size(self.key_heads) }
    }

    /// The block of a panel of a key head.
    pub(super) fn panel(&self, of: Head, block: usize) -> Range<usize> {
        let index = (of.text * size(self.key_heads) + of.head) * self.key_blocks() + block;
        index * KEYS * self.width()..(index + 1) * KEYS * self.width()
    }

    /// The key head of a query head.
    pub(super) fn keys_of(&self, of: Head) -> Head {
        Head { head: of.head / self.group(), ..of }
    }

    /// What is added to the scores of a query and the keys of a block.
    ///
    /// # Safety
    /// The query and the block are there, of this dtype, and nothing writes the mask meanwhile.
    pub(super) unsafe fn mask<'a, T>(&self, text: usize, query: usize, block: usize) -> Option<&'a [T]> {
        let keys = self.block_keys(block);
        let [of_text, of_query] = self.mask_strides.map(size);
        let at = self.mask.cast::<T>().wrapping_add(text * of_text + query * of_query + keys.start);
        // SAFETY: as promised by the caller.
        (!self.mask.is_null()).then(|| unsafe { slice::from_raw_parts(at, keys.len()) })
    }

    /// The logarithms of a block of queries.
    ///
    /// # Safety
    /// They are there, and nothing writes them meanwhile.
    pub(super) unsafe fn logs<'a>(&self, of: Head, queries: Range<usize>) -> &'a [f32] {
        // SAFETY: as promised by the caller.
        unsafe { slice::from_raw_parts(self.log(of, queries.start), queries.len()) }
    }

    /// The same, to be written.
    ///
    /// # Safety
    /// They are there, and nothing else refers to them meanwhile.
    pub(super) unsafe fn logs_mut<'a>(&self, of: Head, queries: Range<usize>) -> &'a mut [f32] {
        // SAFETY: as promised by the caller.
        unsafe { slice::from_raw_parts_mut(self.log(of, queries.start), queries.len()) }
    }

    fn log(&self, of: Head, query: usize) -> *mut f32 {
        let head = of.text * size(self.heads) + of.head;
        self.logs.wrapping_add(head * size(self.queries) + query)
    }

    /// The sums of the gradients of keys and values: of a key head from `first` on, one of its query heads, and a block.
    ///
    /// # Safety
    /// They are there, and nothing else refers to them meanwhile.
    pub(super) unsafe fn sums<'a>(&self, pair: usize, member: usize, block: usize) -> [&'a mut [f32]; 2] {
        let len = KEYS * self.width();
        let at = ((pair * self.group() + member) * self.key_blocks() + block) * len;
        // SAFETY: as promised by the caller.
        [self.key_sums, self.value_sums].map(|sums| unsafe { slice::from_raw_parts_mut(sums.add(at), len) })
    }
}

/// A panel to be read, or nothing if there are none.
///
/// # Safety
/// The range is within the memory that `panels` points to, of this dtype, and nothing writes it meanwhile.
pub(super) unsafe fn panel<'a, T>(panels: *mut c_void, range: Range<usize>) -> Option<&'a [T]> {
    // SAFETY: as promised by the caller.
    (!panels.is_null())
        .then(|| unsafe { slice::from_raw_parts(panels.cast::<T>().add(range.start), range.len()) })
}

/// A panel to be written, or nothing if it is not wanted.
///
/// # Safety
/// The range is within the memory that `panels` points to, of this dtype, and nothing else refers to it meanwhile.
pub(super) unsafe fn panel_mut<'a, T>(panels: *mut c_void, range: Range<usize>) -> Option<&'a mut [T]> {
    // SAFETY: as promised by the caller.
    (!panels.is_null())
        .then(|| unsafe { slice::from_raw_parts_mut(panels.cast::<T>().add(range.start), range.len()) })
}
