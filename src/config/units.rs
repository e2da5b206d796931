//! Durations and sizes as people write them, and lists of one.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::AclEntry;

/// A number of bytes; written as a number or with K, M, G or T (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A whole number with a unit behind it: `number * factor`, or `None`.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Takes a number, or text that `read` understands.
struct Quantity {
    expected: &'static str,
    read: fn(&str) -> Option<u64>,
}

impl Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read =
            |text: &str| scaled(text, &[("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)]);
        deserializer.deserialize_any(Quantity { expected: "a size such as 512M or 8G", read }).map(Self)
    }
}

/// A duration: seconds, or a number with s, m, h or d.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let read = |text: &str| scaled(text, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]);
    let seconds = deserializer.deserialize_any(Quantity { expected: "a duration such as 90s, 5m or 2h", read })?;
    // Ten years: what is added to a clock must not overflow it.
    if seconds > 10 * 366 * 86400 {
        Err(D::Error::custom("more than ten years"))
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

/// A duration that need not be there.
pub(super) fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A list, or the one thing that would be in it.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AclEntry>, D::Error> {
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<AclEntry>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of ACL entries")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<AclEntry>, E> {
            Ok(vec![text.to_owned().into()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<AclEntry>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(OneOrMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_what_people_write() {
        let size = |text: &str| serde_yaml::from_str::<ByteSize>(text).map(|size| size.0);
        assert_eq!(size("8G").unwrap(), 8 << 30);
        assert_eq!(size("1024").unwrap(), 1024);
        for bad in ["8g", "-1", "8 G", "G", "99999999T", "[1]", "1.5G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        #[derive(Deserialize)]
        struct D(#[serde(deserialize_with = "duration")] Duration);
        let time = |text: &str| serde_yaml::from_str::<D>(text).map(|d| d.0.as_secs());
        assert_eq!((time("2h").unwrap(), time("90s").unwrap(), time("5").unwrap()), (7200, 90, 5));
        for bad in ["2 h", "h", "-1s", "4000d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
