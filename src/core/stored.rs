//! Declares enums whose spelling is stored: one list gives both directions, and a test pins it.

#[cfg(feature = "sqlite")]
#[doc(hidden)]
pub use rusqlite;
#[doc(hidden)]
pub use schemars;
#[doc(hidden)]
pub use serde;

/// Declares an enum with one stored spelling a variant, and its conversions to and from text and
/// SQLite.
#[macro_export]
macro_rules! stored_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Returns the stored spelling.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| {
                    $crate::error::Error::bug(format!(
                        concat!("the database holds {} where one of the ", stringify!($name), " spellings belongs"),
                        $crate::text::quoted(text)
                    ))
                })
            }
        }

        impl $crate::stored::serde::Serialize for $name {
            fn serialize<S: $crate::stored::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        $crate::stored_in_sqlite!($name);
    };
}

/// Gives such an enum what a client needs that reads it: its conversion from JSON, and a JSON
/// Schema.
#[macro_export]
macro_rules! stored_in_json {
    ($name:ident) => {
        impl<'de> $crate::stored::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::stored::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as $crate::stored::serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err($crate::stored::serde::de::Error::custom)
            }
        }

        impl $crate::stored::schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut $crate::stored::schemars::SchemaGenerator) -> $crate::stored::schemars::Schema {
                let words: Vec<&str> = Self::ALL.iter().map(|value| value.as_str()).collect();
                $crate::stored::schemars::json_schema!({ "type": "string", "enum": words })
            }
        }
    };
}

/// Gives such an enum its conversions to and from SQLite.
#[cfg(feature = "sqlite")]
#[macro_export]
macro_rules! stored_in_sqlite {
    ($name:ident) => {
        impl $crate::stored::rusqlite::ToSql for $name {
            fn to_sql(
                &self,
            ) -> $crate::stored::rusqlite::Result<$crate::stored::rusqlite::types::ToSqlOutput<'_>>
            {
                Ok(self.as_str().into())
            }
        }

        impl $crate::stored::rusqlite::types::FromSql for $name {
            fn column_result(
                value: $crate::stored::rusqlite::types::ValueRef<'_>,
            ) -> $crate::stored::rusqlite::types::FromSqlResult<Self> {
                value
                    .as_str()?
                    .parse()
                    .map_err(|e| $crate::stored::rusqlite::types::FromSqlError::Other(Box::new(e)))
            }
        }
    };
}

/// Does nothing where there is no SQLite.
#[cfg(not(feature = "sqlite"))]
#[macro_export]
macro_rules! stored_in_sqlite {
    ($name:ident) => {};
}
