//! Money: integer minor units plus a currency. In: an exact decimal in major units, as JSON number or string. Out:
//! `price` (string), `price_minor` (integer), `currency`. Never a float inside.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// An ISO 4217 currency code, upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[A-Z]{3}$", "examples" = ["USD"]))]
pub struct Currency(String);

impl Currency {
    /// The code.
    pub fn code(&self) -> &str {
        &self.0
    }

    /// Digits after the decimal point (ISO 4217): 2 for most, 0 for KRW and its like, 3 for dinars.
    pub fn exponent(&self) -> u32 {
        match self.0.as_str() {
            "KRW" | "JPY" | "VND" | "CLP" | "ISK" | "PYG" | "UGX" | "XAF" | "XOF" | "XPF" | "RWF" | "KMF"
            | "GNF" | "DJF" | "BIF" | "VUV" => 0,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
            _ => 2,
        }
    }

    /// Minor units as a decimal in major units: 2999 USD is `29.99`, 1500 KRW is `1500`.
    pub fn major(&self, minor: i64) -> String {
        let exponent = self.exponent();
        if exponent == 0 {
            return minor.to_string();
        }
        let unit = 10_u64.pow(exponent);
        let sign = if minor < 0 { "-" } else { "" };
        let minor = minor.unsigned_abs();
        format!("{sign}{}.{:0width$}", minor / unit, minor % unit, width = exponent as usize)
    }
}

impl TryFrom<String> for Currency {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) {
            Ok(Currency(code))
        } else {
            Err("a currency is three upper-case letters (ISO 4217)".to_owned())
        }
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.0
    }
}

/// An amount in major units as it came in: a non-negative decimal of at most 12 digits before and 3 after the point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Decimal(String);

impl Decimal {
    /// In minor units of a currency.
    ///
    /// # Errors
    /// When it has more digits after the point than the currency.
    pub fn minor(&self, currency: &Currency) -> Result<i64, String> {
        let (whole, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        let fraction = fraction.trim_end_matches('0');
        let exponent = currency.exponent() as usize;
        if fraction.len() > exponent {
            return Err(format!("{} has at most {exponent} digits after the point", currency.code()));
        }
        format!("{whole}{fraction:0<exponent$}").parse().map_err(|_| "the amount is too large".to_owned())
    }

    fn parse(text: &str) -> Result<Decimal, String> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if digits(whole) && digits(fraction) && whole.len() <= 12 && fraction.len() <= 3 {
            Ok(Decimal(text.to_owned()))
        } else {
            Err("an amount is a non-negative decimal with at most 12 digits before and 3 after the point"
                .to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Decimal;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an amount in major units, as number or string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                Decimal::parse(text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Decimal, E> {
                Decimal::parse(&number.to_string()).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Decimal, E> {
                Decimal::parse(&number.to_string()).map_err(E::custom)
            }

            /// The shortest decimal that reads back as this double is what the sender wrote, up to 15 digits.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Decimal, E> {
                Decimal::parse(&number.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An exact decimal in major units.",
            "anyOf": [
                { "type": "number", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]{1,12}(\\.[0-9]{1,3})?$" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minor(json: &str, currency: &str) -> Result<i64, String> {
        let decimal: Decimal = serde_json::from_str(json).map_err(|e| e.to_string())?;
        decimal.minor(&Currency::try_from(currency.to_owned())?)
    }

    #[test]
    fn an_amount_is_exact_as_number_and_as_string() {
        assert_eq!(minor("29.99", "USD"), Ok(2999));
        assert_eq!(minor("\"29.99\"", "USD"), Ok(2999));
        assert_eq!(minor("0.1", "USD"), Ok(10));
        assert_eq!(minor("1500", "KRW"), Ok(1500));
        assert_eq!(minor("\"1.500\"", "BHD"), Ok(1500));
    }

    #[test]
    fn an_amount_with_too_many_digits_a_sign_or_letters_is_refused() {
        assert!(minor("29.999", "USD").is_err());
        assert!(minor("0.5", "KRW").is_err());
        assert!(minor("-1", "USD").is_err());
        assert!(minor("\"1e3\"", "USD").is_err());
        assert!(minor("\"\"", "USD").is_err());
        assert!(minor("1e30", "USD").is_err());
    }

    #[test]
    fn minor_units_are_written_with_the_digits_of_their_currency() {
        let usd = Currency::try_from("USD".to_owned()).expect("a currency");
        assert_eq!(usd.major(5), "0.05");
        assert_eq!(usd.major(2999), "29.99");
        let krw = Currency::try_from("KRW".to_owned()).expect("a currency");
        assert_eq!(krw.major(1500), "1500");
    }
}
