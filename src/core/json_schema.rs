//! Gives types that are written as one value their JSON Schemas.

/// Gives a type a schema that stands in its place wherever the type does, and not among the
/// definitions. The schema's title is what the manual calls such a value.
macro_rules! in_place {
    ($name:ty, $schema:expr) => {
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}
pub(crate) use in_place;
