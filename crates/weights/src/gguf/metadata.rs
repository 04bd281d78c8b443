//! The key-value pairs in front of the tensors, in file order, with typed getters.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::value::{Array, StrArray, Value};
use crate::Error;

/// Ordered metadata. Getters return `Ok(None)` for a key that is not there and an error that
/// names file, key and the type found for one that holds something else. Integers are taken from
/// any integer type they fit, floats from either width: converters disagree about widths.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    path: PathBuf,
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// No entries yet: to be filled with [`Metadata::insert`] and written.
    pub fn new() -> Metadata {
        Metadata { path: PathBuf::from("(new file)"), ..Metadata::default() }
    }

    pub(super) fn for_file(path: &Path) -> Metadata {
        Metadata { path: path.to_owned(), ..Metadata::default() }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every key with its value, in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.entries[i].1)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Sets `key`, in its old place if it was there and at the end if not.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.index.get(&key) {
            Some(&i) => self.entries[i].1 = value,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// Takes `key` out and returns what it held.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.index.remove(key)?;
        self.index.values_mut().filter(|i| **i > at).for_each(|i| *i -= 1);
        Some(self.entries.remove(at).1)
    }

    /// An integer that fits `u32`.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.read(key, "a 32-bit unsigned integer", |v| v.integer()?.try_into().ok())
    }

    /// An integer that is not negative.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.read(key, "an unsigned integer", |v| v.integer()?.try_into().ok())
    }

    /// Any integer up to `i64::MAX`.
    pub fn i64(&self, key: &str) -> Result<Option<i64>, Error> {
        self.read(key, "an integer", |v| v.integer()?.try_into().ok())
    }

    /// A float.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.read(key, "a float", |v| match *v {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        })
    }

    /// A boolean.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "a boolean", |v| match *v {
            Value::Bool(v) => Some(v),
            _ => None,
        })
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.read(key, "a string", |v| match v {
            Value::Str(v) => Some(v.as_str()),
            _ => None,
        })
    }

    /// An array of strings.
    pub fn str_array(&self, key: &str) -> Result<Option<&StrArray>, Error> {
        self.read(key, "an array of strings", |v| match v {
            Value::Array(Array::Str(v)) => Some(v),
            _ => None,
        })
    }

    /// An array of integers that fit `u32`; borrowed where the file has exactly that type.
    pub fn u32_array(&self, key: &str) -> Result<Option<Cow<'_, [u32]>>, Error> {
        self.read(key, "an array of 32-bit unsigned integers", |v| match v {
            Value::Array(Array::U32(v)) => Some(Cow::Borrowed(v.as_slice())),
            Value::Array(v) => narrow(v).map(Cow::Owned),
            _ => None,
        })
    }

    /// An array of integers that fit `i32`; borrowed where the file has exactly that type.
    pub fn i32_array(&self, key: &str) -> Result<Option<Cow<'_, [i32]>>, Error> {
        self.read(key, "an array of 32-bit integers", |v| match v {
            Value::Array(Array::I32(v)) => Some(Cow::Borrowed(v.as_slice())),
            Value::Array(v) => narrow(v).map(Cow::Owned),
            _ => None,
        })
    }

    /// An array of floats; borrowed where the file has them in 32 bits.
    pub fn f32_array(&self, key: &str) -> Result<Option<Cow<'_, [f32]>>, Error> {
        self.read(key, "an array of floats", |v| match v {
            Value::Array(Array::F32(v)) => Some(Cow::Borrowed(v.as_slice())),
            Value::Array(Array::F64(v)) => Some(v.iter().map(|&x| x as f32).collect()),
            _ => None,
        })
    }

    /// [`Metadata::u32`], and an error where the key is missing.
    pub fn require_u32(&self, key: &str) -> Result<u32, Error> {
        self.require(key, self.u32(key)?)
    }

    /// [`Metadata::u64`], and an error where the key is missing.
    pub fn require_u64(&self, key: &str) -> Result<u64, Error> {
        self.require(key, self.u64(key)?)
    }

    /// [`Metadata::i64`], and an error where the key is missing.
    pub fn require_i64(&self, key: &str) -> Result<i64, Error> {
        self.require(key, self.i64(key)?)
    }

    /// [`Metadata::f32`], and an error where the key is missing.
    pub fn require_f32(&self, key: &str) -> Result<f32, Error> {
        self.require(key, self.f32(key)?)
    }

    /// [`Metadata::bool`], and an error where the key is missing.
    pub fn require_bool(&self, key: &str) -> Result<bool, Error> {
        self.require(key, self.bool(key)?)
    }

    /// [`Metadata::str`], and an error where the key is missing.
    pub fn require_str(&self, key: &str) -> Result<&str, Error> {
        self.require(key, self.str(key)?)
    }

    /// [`Metadata::str_array`], and an error where the key is missing.
    pub fn require_str_array(&self, key: &str) -> Result<&StrArray, Error> {
        self.require(key, self.str_array(key)?)
    }

    /// [`Metadata::u32_array`], and an error where the key is missing.
    pub fn require_u32_array(&self, key: &str) -> Result<Cow<'_, [u32]>, Error> {
        self.require(key, self.u32_array(key)?)
    }

    /// [`Metadata::i32_array`], and an error where the key is missing.
    pub fn require_i32_array(&self, key: &str) -> Result<Cow<'_, [i32]>, Error> {
        self.require(key, self.i32_array(key)?)
    }

    /// [`Metadata::f32_array`], and an error where the key is missing.
    pub fn require_f32_array(&self, key: &str) -> Result<Cow<'_, [f32]>, Error> {
        self.require(key, self.f32_array(key)?)
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match take(value) {
            Some(taken) => Ok(Some(taken)),
            None => Err(Error::WrongType {
                path: self.path.clone(),
                key: key.to_owned(),
                wanted,
                found: value.describe(),
            }),
        }
    }

    fn require<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::Missing {
            path: self.path.clone(),
            what: format!("metadata key `{key}`"),
            remedy: "convert the model again with a current converter",
        })
    }
}

fn narrow<T: TryFrom<i128>>(array: &Array) -> Option<Vec<T>> {
    array.integers()?.map(|v| v.try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let mut m = Metadata::new();
        m.insert("narrow", 7u8);
        m.insert("wide", u64::MAX);
        m.insert("negative", -1i32);
        m.insert("half", 0.5f64);
        m.insert("name", "qwen2");
        m.insert("types", vec![1i32, 3]);
        m.insert("words", ["a", "", "ßc"].into_iter().collect::<StrArray>());
        m
    }

    #[test]
    fn integers_are_taken_from_any_width_they_fit() {
        let m = sample();
        assert_eq!(m.u32("narrow").unwrap(), Some(7));
        assert_eq!(m.u64("wide").unwrap(), Some(u64::MAX));
        assert_eq!(m.i64("negative").unwrap(), Some(-1));
        assert_eq!(m.f32("half").unwrap(), Some(0.5));
        assert_eq!(m.u32_array("types").unwrap().unwrap().as_ref(), [1, 3]);
        assert_eq!(m.u32("absent").unwrap(), None);
        assert_eq!(m.str_array("words").unwrap().unwrap().iter().last(), Some("ßc"));
    }

    #[test]
    fn errors_name_the_key_and_what_was_found() {
        let m = sample();
        assert_eq!(
            m.u32("wide").unwrap_err().to_string(),
            "(new file): metadata key `wide`: expected a 32-bit unsigned integer, found u64 \
             18446744073709551615; convert the model again with a current converter"
        );
        assert_eq!(
            m.str("types").unwrap_err().to_string(),
            "(new file): metadata key `types`: expected a string, found an array of 2 i32; \
             convert the model again with a current converter"
        );
        assert_eq!(
            m.require_f32("absent").unwrap_err().to_string(),
            "(new file): metadata key `absent` is missing; convert the model again with a \
             current converter"
        );
    }

    #[test]
    fn insert_replaces_in_place_and_remove_keeps_the_order() {
        let mut m = sample();
        m.insert("wide", 1u32);
        assert_eq!(m.remove("narrow"), Some(Value::U8(7)));
        assert_eq!(m.remove("narrow"), None);
        let keys: Vec<&str> = m.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["wide", "negative", "half", "name", "types", "words"]);
        assert_eq!(m.require_str("name").unwrap(), "qwen2");
        assert_eq!(m.u32("wide").unwrap(), Some(1));
    }
}
