//! Reads durations, sizes and truth as people write them, and lists of one, and says in the schema how
//! they are written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::acl::AclEntry;
use crate::json_schema::in_place;

/// The units of sizes, the largest first, and the bytes in each.
const SIZES: &[(&str, u64)] =
    &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];

/// The units of durations, the largest first, and the seconds in each.
const DURATIONS: &[(&str, u64)] = &[("d", 86_400), ("h", 3600), ("m", 60), ("s", 1), ("", 1)];

/// The longest duration, in seconds: ten years. What is added to a clock must not overflow it.
const MOST_SECONDS: u64 = 10 * 366 * 86_400;

/// A number of bytes; written as a number or with K, M, G or T (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Reads a whole number with a unit behind it: `number * factor`, or `None`.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads a duration such as `90s`, `5m` or `2h`, of ten years at most.
pub fn read_duration(text: &str) -> Option<Duration> {
    scaled(text, DURATIONS).filter(|seconds| *seconds <= MOST_SECONDS).map(Duration::from_secs)
}

/// Writes a number with the largest unit that divides it.
fn shown(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |factor: u64| factor == 1 || number > 0 && number % factor == 0;
    let (unit, factor) = units.iter().find(|(_, factor)| fits(*factor)).unwrap_or(&("", 1));
    format!("{}{unit}", number / factor)
}

/// Returns the schema of a number with a unit.
fn quantity(title: &str, units: &[(&str, u64)]) -> Schema {
    let letters: String = units.iter().map(|(name, _)| *name).collect();
    json_schema!({
        "type": ["string", "integer"],
        "title": title,
        "pattern": format!("^[0-9]+[{letters}]?$"),
        "minimum": 0,
    })
}

/// A visitor that takes a number, or text that `read` understands.
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
        let read = |text: &str| scaled(text, SIZES);
        deserializer
            .deserialize_any(Quantity { expected: "a size such as 512M or 8G", read })
            .map(Self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&shown(self.0, SIZES))
    }
}

in_place!(ByteSize, quantity("size", SIZES));

/// Durations: seconds, or a number with s, m, h or d.
pub(super) mod duration {
    use std::time::Duration;

    use crate::config::units::*;

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let read = |text: &str| scaled(text, DURATIONS);
        let seconds = deserializer
            .deserialize_any(Quantity { expected: "a duration such as 90s, 5m or 2h", read })?;
        if seconds > MOST_SECONDS {
            Err(D::Error::custom("more than ten years"))
        } else {
            Ok(Duration::from_secs(seconds))
        }
    }

    /// Writes a duration.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&shown(duration.as_secs(), DURATIONS))
    }
}

/// Durations that need not be there.
pub(super) mod some_duration {
    use std::time::Duration;

    use crate::config::units::*;

    /// Reads a duration, which is there.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }

    /// Writes a duration that may be there.
    pub fn serialize<S: Serializer>(some: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        some.map(|some| shown(some.as_secs(), DURATIONS)).serialize(to)
    }
}

/// A duration, for the schema.
pub(super) enum DurationText {}

in_place!(DurationText, quantity("duration", DURATIONS));

/// A path, for the schema: it begins with a slash.
pub(super) enum PathText {}

in_place!(PathText, json_schema!({ "type": "string", "title": "path", "pattern": "^/" }));

/// A list, or the one thing that would be in it, for the schema.
pub(super) struct OneOrMany<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// Reads a list, or the one thing that would be in it.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<AclEntry>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<AclEntry>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of ACL entries")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<AclEntry>, E> {
            Ok(vec![text.to_owned().into()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut list: A,
        ) -> Result<Vec<AclEntry>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Entries)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::units::*;

    #[test]
    fn units_are_what_people_write() {
        let size = |text: &str| serde_yaml::from_str::<ByteSize>(text).map(|size| size.0);
        assert_eq!(size("8G").unwrap(), 8 << 30);
        assert_eq!(size("1024").unwrap(), 1024);
        for bad in ["8g", "-1", "8 G", "G", "99999999T", "[1]", "1.5G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        #[derive(Deserialize)]
        struct D(#[serde(with = "duration")] Duration);
        let time = |text: &str| serde_yaml::from_str::<D>(text).map(|d| d.0.as_secs());
        assert_eq!((time("2h").unwrap(), time("90s").unwrap(), time("5").unwrap()), (7200, 90, 5));
        for bad in ["2 h", "h", "-1s", "4000d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (number, size, duration) in
            [(0, "0", "0s"), (90, "90", "90s"), (7200, "7200", "2h"), (86_400, "86400", "1d")]
        {
            assert_eq!(shown(number, SIZES), size);
            assert_eq!(shown(number, DURATIONS), duration);
            assert_eq!(scaled(duration, DURATIONS), Some(number));
        }
        assert_eq!((shown(8 << 30, SIZES), shown(1 << 40, SIZES)), ("8G".into(), "1T".into()));
    }
}
