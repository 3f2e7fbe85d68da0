//! The reasons behind a workday as sentences.

use attendance::Reason;
use fluent_bundle::{FluentArgs, FluentValue};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::i18n::Language;

/// A reason in words, with times of day in the zone.
pub fn sentence(reason: &Reason, zone: &TimeZone, language: Language) -> String {
    let (id, figures) = message(reason, zone);
    let sentence = language.text(&id, &figures);
    let whole = [("reason", sentence.into()), ("rule", FluentValue::from(reason.rule()))];
    language.text("reason", &whole.into_iter().collect())
}

/// The message of a reason, and its fields as arguments.
fn message(reason: &Reason, zone: &TimeZone) -> (String, FluentArgs<'static>) {
    let Ok(Value::Object(fields)) = serde_json::to_value(reason) else { return Default::default() };
    let id = format!("reason-{}", fields["code"].as_str().unwrap_or_default());
    let arguments = fields.into_iter().map(|(name, value)| {
        let value = match value {
            Value::Number(figure) => FluentValue::from(figure.as_i64().unwrap_or_default()),
            Value::String(text) if name == "at" || name.ends_with("_at") => local(&text, zone).into(),
            Value::String(text) => text.into(),
            _ => "".into(),
        };
        (name, value)
    });
    (id, arguments.collect())
}

fn local(at: &str, zone: &TimeZone) -> String {
    let at: Result<Timestamp, _> = at.parse();
    at.map(|at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use attendance::{ClockState, Direction, ExpectedBasis, PunchRole};
    use utoipa::PartialSchema;

    use super::*;
    use crate::i18n::tests::assert_given;

    fn every_reason() -> Vec<Reason> {
        let at = Timestamp::from_second(1_740_985_200).expect("a time"); // 2025-03-03T07:00:00Z
        let figures = (3_600, 7_200);
        vec![
            Reason::Shift { name: "D".into(), starts_at: at, ends_at: at, opens_at: at, closes_at: at },
            Reason::NoShift,
            Reason::Punch {
                at,
                role: PunchRole::Duplicate,
                terminal: Some("A".into()),
                direction: Direction::In,
                clock: ClockState::Estimated,
            },
            Reason::Punch {
                at,
                role: PunchRole::FirstIn,
                terminal: None,
                direction: Direction::Unknown,
                clock: ClockState::Synchronised,
            },
            Reason::Interval { from_at: at, to_at: at, duration_s: 0 },
            Reason::Breaks { break_s: 1_800 },
            Reason::Holiday,
            Reason::Leave,
            Reason::Incomplete,
            Reason::Unscheduled,
            Reason::Absent { worked_s: figures.0, threshold_s: figures.1 },
            Reason::HalfDay { worked_s: figures.0, threshold_s: figures.1 },
            Reason::Present { worked_s: 32_400 },
            Reason::NotDue { until_at: at },
            Reason::ClockEstimated,
            Reason::HalfLeave,
            Reason::LongSpan { span_s: 57_601, limit_s: 57_600 },
            Reason::MissingIn,
            Reason::MissingOut,
            Reason::WorkedOnLeave,
            Reason::Late { late_s: 1_500, due_at: at, grace_s: 600 },
            Reason::Early { early_s: 1_500, due_at: at, grace_s: 600 },
            Reason::Expected { expected_s: 32_400, basis: ExpectedBasis::ShiftLength },
            Reason::EarlyArrival { early_s: 600 },
            Reason::Overtime { overtime_s: 1_200, tolerance_s: 900 },
            Reason::NoOvertime { balance_s: 60, tolerance_s: 900 },
            Reason::DayOffOvertime { overtime_s: 60 },
        ]
    }

    #[test]
    fn every_reason_has_a_message_and_a_rule() {
        let rules = include_str!("../../../docs/reference/attendance-rules.md");
        let mut codes = BTreeSet::new();
        for reason in every_reason() {
            let (id, figures) = message(&reason, &TimeZone::UTC);
            assert_given(&id, &figures);
            assert!(rules.contains(&format!("\n## {}. ", reason.rule())), "{reason:?}");
            codes.insert(serde_json::json!(reason)["code"].clone().to_string());
        }
        let schema = serde_json::to_value(Reason::schema()).expect("JSON");
        let documented = schema["oneOf"].as_array().expect("variants").iter();
        let documented: BTreeSet<String> =
            documented.map(|variant| variant["properties"]["code"]["enum"][0].to_string()).collect();
        assert_eq!(codes, documented, "a reason is not in the list of this test");
    }

    #[test]
    fn a_reason_is_a_sentence_with_local_times() {
        let zone = TimeZone::get("Europe/Berlin").expect("bundled");
        let sentences: Vec<String> =
            every_reason().iter().map(|reason| sentence(reason, &zone, Language::English)).collect();
        for expected in [
            "punch 2025-03-03 08:00:00 CET at A, in, time estimated: dropped as a duplicate (rule 1)",
            "punch 2025-03-03 08:00:00 CET, unknown: first in (rule 5)",
            "status absent: worked 1:00:00 is below absent_below_min, 2:00:00 (rule 7)",
            "late 1500 s: due 2025-03-03 08:00:00 CET, grace 0:10:00 (rule 6)",
            "expected 9:00:00: the shift's length less breaks (rule 8)",
            "overtime 1200 s: more than the tolerance of 0:15:00 (rule 8)",
        ] {
            assert!(sentences.iter().any(|sentence| sentence == expected), "{expected}: {sentences:#?}");
        }
    }
}
