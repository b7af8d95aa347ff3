//! A value that many states share.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Cheap to clone, and quick to compare with what it was cloned from: of 10,000 services nearly all
/// stay as they are from one state to the next. Whoever changes it gets a copy of its own first.
#[derive(Clone, PartialEq, Eq)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Is it the very same one, so that there is nothing to compare? Two that are equal need not be.
    pub fn is_same(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where it lies: tells the very same ones apart from others, while both live.
    pub(super) fn place(&self) -> *const T {
        Arc::as_ptr(&self.0)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_nobody_else() {
        let first = Shared::from(vec![1, 2]);
        let mut second = first.clone();
        assert!(second.is_same(&first) && second.place() == first.place());
        second.push(3);
        assert_eq!((&*first, &*second), (&vec![1, 2], &vec![1, 2, 3]));
        assert!(!second.is_same(&first));
        second.pop();
        assert!(second == first && !second.is_same(&first));
    }
}
