//! Texts: how long they may be, and closed sets of words.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Characters of a person's number, at most.
pub const NUMBER: usize = 64;
/// Characters of a person's or a terminal's name, at most.
pub const NAME: usize = 200;
/// Characters of any other name, at most.
pub const SHORT_NAME: usize = 100;
/// Characters of a reason or a note to a correction or an adjustment, at most.
pub const REMARK: usize = 500;
/// Characters of a reason for leave, at most.
pub const LEAVE_REASON: usize = 200;

/// How the API's document describes a text of one line, as [`crate::error::check_text`] takes it.
pub fn line(most: usize) -> RefOr<Schema> {
    let line = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^\S(.*\S)?$"));
    line.min_length(Some(1)).max_length(Some(most)).into()
}

/// Types that stand for such texts in the document.
macro_rules! described {
    ($($name:ident = $most:expr;)+) => {$(
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                line($most)
            }
        }

        impl ToSchema for $name {}
    )+};
}

described! {
    NameText = NAME;
    ShortNameText = SHORT_NAME;
    RemarkText = REMARK;
    LeaveReasonText = LEAVE_REASON;
}

/// A text that is no word of a closed set.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not valid: use one of {1}")]
pub struct UnknownWord(pub String, pub String);

/// A closed set of words, as the database, the API and people write them.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        #[allow(dead_code, reason = "not every set is used in every way")]
        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let known = Self::ALL.iter().copied().find(|word| word.as_str() == text);
                known.ok_or_else(|| $crate::text::UnknownWord(text.to_owned(), [$($word),+].join(", ")))
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::Type::String)
                    .enum_values(Some([$($word),+]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <str as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(of: &sqlx::postgres::PgTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::Postgres>>::compatible(of)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <&str as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                into: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                sqlx::Encode::<sqlx::Postgres>::encode(self.as_str(), into)
            }
        }

        impl sqlx::Decode<'_, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
                Ok(<&str as sqlx::Decode<sqlx::Postgres>>::decode(value)?.parse()?)
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use serde_json::json;

    words! {
        /// Two words.
        pub enum Sample { One = "one", Another = "another_one" }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in Sample::ALL {
            assert_eq!(word.to_string().parse::<Sample>().expect("a word"), *word);
            assert_eq!(json!(word), json!(word.as_str()));
        }
        let reported = "two".parse::<Sample>().expect_err("no word").to_string();
        assert_eq!(reported, "\"two\" is not valid: use one of one, another_one");
    }
}
