//! What needs the processor or the kernel by name: prefetch, comparing many at once, and memory in
//! large pages.
//!
//! With `io/afxdp` the only place where unsafe code may stand. Safe wrappers only.

#![allow(unsafe_code)]

/// Starts to bring the cache line of `value` into the cache, and does not wait for it.
///
/// A plain early read would do the same at twice the price: it waits in the reorder buffer.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch changes nothing that a program can see and faults on no address; this
        // one is of a living reference. SSE, which it needs, is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// One bit for each of the tags that is `tag`, two bits apart.
#[inline(always)]
pub fn equal_tags(tags: &[u16; 10], tag: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi16,
        };
        let last = i32::from(tags[8]) | i32::from(tags[9]) << 16;
        // SAFETY: 16 bytes are read where 20 are, from no aligned place. SSE2, which all of these
        // need, is part of x86-64.
        let (eight, two) = unsafe {
            let wanted = _mm_set1_epi16(tag as i16);
            let eight = _mm_cmpeq_epi16(_mm_loadu_si128(tags.as_ptr().cast()), wanted);
            let two = _mm_cmpeq_epi16(_mm_cvtsi32_si128(last), wanted);
            (_mm_movemask_epi8(eight), _mm_movemask_epi8(two))
        };
        (eight | two << 16) as u32 & 0x5_5555
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let bit = |(place, &other): (usize, &u16)| u32::from(other == tag) << (2 * place);
        tags.iter().enumerate().map(bit).sum()
    }
}

/// `len` copies of `value`, in pages of 2 MiB where the kernel gives them: a look-up in a large
/// table then misses the cache once, and not the TLB as well.
///
/// A kernel without large pages, or with none left, makes no difference but speed.
pub fn vec_in_large_pages<T: Copy>(value: T, len: usize) -> Box<[T]> {
    let mut values = room_in_large_pages(len);
    values.resize(len, value);
    values.into_boxed_slice()
}

/// Room for `len` values, touched as they are pushed; in pages as [`vec_in_large_pages`] has it.
pub fn room_in_large_pages<T>(len: usize) -> Vec<T> {
    let mut values: Vec<T> = Vec::with_capacity(len);
    advise_large_pages(values.spare_capacity_mut());
    values
}

/// Asks for large pages under memory that nobody has touched yet.
fn advise_large_pages<T>(memory: &mut [std::mem::MaybeUninit<T>]) {
    const PAGE: usize = 4096;
    const LARGE_PAGE: usize = 2 << 20;
    let range = memory.as_mut_ptr_range();
    let (start, end) = ((range.start as usize).next_multiple_of(PAGE), range.end as usize);
    let len = end.saturating_sub(start) / PAGE * PAGE;
    if len < LARGE_PAGE {
        return;
    }
    // SAFETY: the range lies within memory that this vector owns and that nobody else looks at;
    // this advice changes how it is backed, not what it holds.
    let advised = unsafe {
        rustix::mm::madvise(
            range.start.cast::<u8>().wrapping_add(start - range.start as usize).cast(),
            len,
            rustix::mm::Advice::LinuxHugepage,
        )
    };
    // Refused where the kernel has no large pages: then they are small.
    let _ = advised;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_where_they_are() {
        for places in 0..1u32 << 10 {
            let tags =
                std::array::from_fn(|place| if places >> place & 1 == 1 { 7 } else { 0x700 });
            let wanted = (0..10).map(|place| (places >> place & 1) << (2 * place)).sum::<u32>();
            assert_eq!(equal_tags(&tags, 7), wanted, "{places:b}");
        }
    }

    #[test]
    fn all_places_hold_the_value() {
        for len in [0, 1, 1000, (5 << 20) / 8] {
            let values = vec_in_large_pages(7u64, len);
            assert!(values.len() == len && values.iter().all(|&value| value == 7));
            if let Some(last) = values.last() {
                prefetch(last);
            }
        }
    }
}
