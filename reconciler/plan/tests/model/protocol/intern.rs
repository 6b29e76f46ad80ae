//! Values that states share: each is stored once and compared by its number, so that a state stays small
//! and cheap to hash although it holds the real types.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A shared value. Equal values have equal numbers.
#[derive(Debug)]
pub(crate) struct Shared<T: 'static> {
    number: u32,
    value: &'static T,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// Every value of one type that was shared so far. They live as long as the process.
pub(crate) struct Pool<T: 'static>(LazyLock<Mutex<HashMap<&'static T, u32>>>);

impl<T: Eq + Hash> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(|| Mutex::new(HashMap::new())))
    }

    pub(crate) fn share(&self, value: T) -> Shared<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((value, number)) = all.get_key_value(&value) {
            return Shared { number: *number, value };
        }
        let number = u32::try_from(all.len()).expect("fewer than 2^32 values");
        let value: &'static T = Box::leak(Box::new(value));
        all.insert(value, number);
        Shared { number, value }
    }
}

/// The multiply-and-rotate hash that rustc uses: the keys here are small numbers, and nobody attacks them.
#[derive(Default)]
pub(crate) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x51_7c_c1_b7_27_22_0a_95);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
}

pub(crate) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;
