//! Many small pieces of file work at once: on a network volume each waits for milliseconds and costs nothing.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Does `work` on each item, with so many threads and in about this order. After the first error no further item is
/// begun. Blocks.
///
/// # Errors
/// The first one.
pub(super) fn for_each<T: Sync, E: Send>(
    threads: NonZero<usize>,
    items: &[T],
    work: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(item) {
                        next.store(items.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_and_the_first_error_ends_it() {
        let threads = NonZero::new(8).unwrap();
        let items: Vec<usize> = (0..1000).collect();
        let sum = AtomicUsize::new(0);
        for_each::<_, ()>(threads, &items, |item| {
            sum.fetch_add(*item, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 499_500);
        let failed = for_each(threads, &items, |item| if *item == 10 { Err(*item) } else { Ok(()) });
        assert_eq!(failed, Err(10));
        assert_eq!(for_each(threads, &[], |(): &()| Err(())), Ok(()));
    }
}
