//! The rules, case by case, and what must hold for any facts at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::shift::{Rules, Shift};
use crate::why::why;
use crate::workday::{Entry, Leave, Status};
use crate::{ClockState, Direction, Employment, Facts, Punch, Scenario, assess, timestamp};

/// Runs a scenario and returns what would be printed, with reasons as JSON in a text.
fn answer(case: &Value) -> Value {
    let scenario = Scenario::read(&case.to_string()).expect("a scenario that makes sense");
    serde_json::to_value(scenario.assess(|reason, _| json!(reason).to_string())).expect("prints")
}

/// A scenario in Berlin: shifts, schedule as (date, shift), local punches.
fn berlin(shifts: &Value, schedule: &[(&str, &str)], punches: &[&str]) -> Value {
    let zone = TimeZone::get("Europe/Berlin").expect("bundled");
    let instant = |local: &&str| {
        let local: jiff::civil::DateTime = local.parse().expect("a local time");
        json!({"at": local.to_zoned(zone.clone()).expect("an instant").timestamp().to_string()})
    };
    let entry = |(date, shift): &(&str, &str)| json!({"date": date, "shift": shift});
    json!({"zone": "Europe/Berlin", "from": "2025-01-01", "to": "2025-12-31", "shifts": shifts,
        "schedule": schedule.iter().map(entry).collect::<Vec<_>>(),
        "punches": punches.iter().map(instant).collect::<Vec<_>>()})
}

/// Shift D on Monday, the 3rd of March, with changes, and punches at local times of day.
fn day(changes: &Value, times: &[&str]) -> Value {
    let mut shift = json!({"start": "09:00", "end": "18:00"});
    for (key, value) in changes.as_object().expect("changes") {
        shift[key] = value.clone();
    }
    let punches: Vec<String> = times.iter().map(|time| format!("2025-03-03T{time}")).collect();
    let punches: Vec<&str> = punches.iter().map(String::as_str).collect();
    berlin(&json!({"D": shift}), &[("2025-03-03", "D")], &punches)
}

fn workday(case: &Value) -> Value {
    let answer = answer(case);
    assert_eq!(answer["workdays"].as_array().map(Vec::len), Some(1), "{answer}");
    answer["workdays"][0].clone()
}

fn night(schedule: &[(&str, &str)], punches: &[&str]) -> Value {
    let shifts = json!({"N": {"start": "22:00", "end": "06:00"}, "E": {"start": "07:00", "end": "15:00"}});
    answer(&berlin(&shifts, schedule, punches))
}

#[test]
fn cases_1_to_4_thresholds_are_strict() {
    let of = |times: &[&str], key: &str| workday(&day(&json!({}), times))[key].clone();
    assert_eq!(of(&["09:00:00", "18:15:00"], "overtime_s"), 0);
    assert_eq!(of(&["09:00:00", "18:16:00"], "overtime_s"), 960);
    assert_eq!(of(&["09:10:00", "18:00:00"], "late_s"), 0);
    assert_eq!(of(&["09:10:01", "18:00:00"], "late_s"), 601);
    assert_eq!(of(&["09:00:00", "17:50:00"], "early_s"), 0);
    assert_eq!(of(&["09:00:00", "17:49:59"], "early_s"), 601);
    assert_eq!(of(&["09:00:00", "14:00:00"], "status"), "present");
    assert_eq!(of(&["09:00:00", "13:59:59"], "status"), "half_day");
    assert_eq!(of(&["09:00:00", "10:59:59"], "status"), "absent");
}

#[test]
fn case_5_a_lone_punch_is_nearer_to_one_end() {
    for (time, flag) in [("09:00:00", "missing_out"), ("18:00:00", "missing_in"), ("13:30:00", "missing_out")]
    {
        for pairing in ["first_last", "pairs"] {
            let day = workday(&day(&json!({"pairing": pairing}), &[time]));
            assert_eq!((&day["status"], &day["flags"]), (&json!("incomplete"), &json!([flag])), "{time}");
            assert_eq!((&day["worked_s"], &day["balance_s"]), (&Value::Null, &Value::Null));
        }
    }
}

#[test]
fn cases_6_to_9_pairs_and_duplicates() {
    let pairs = json!({"pairing": "pairs"});
    let doubled = answer(&day(&pairs, &["09:00:00", "09:00:30", "18:00:00"]));
    assert_eq!(doubled["workdays"][0]["worked_s"], 32400);
    assert_eq!(doubled["dropped"], json!([{"at": "2025-03-03T08:00:30Z", "reason": "duplicate"}]));
    let four = ["09:00:00", "12:00:00", "13:00:00", "18:00:00"];
    assert_eq!(workday(&day(&json!({}), &four))["worked_s"], 32400);
    assert_eq!(workday(&day(&pairs, &four))["worked_s"], 28800);
    let three = workday(&day(&pairs, &four[..3]));
    assert_eq!((&three["worked_s"], &three["flags"]), (&json!(10800), &json!(["missing_out"])));
    assert_eq!(three["last_out"], Value::Null);
    let backwards = workday(&day(&json!({}), &["18:00:00", "09:00:00"]));
    assert_eq!(backwards, workday(&day(&json!({}), &["09:00:00", "18:00:00"])));
}

#[test]
fn cases_10_and_11_nights_belong_to_the_evening() {
    let one = night(&[("2025-03-03", "N")], &["2025-03-03T21:55:00", "2025-03-04T06:05:00"]);
    assert_eq!(
        (&one["workdays"][0]["date"], &one["workdays"][0]["worked_s"]),
        (&json!("2025-03-03"), &json!(29400))
    );
    assert_eq!(one["workdays"][0]["overtime_s"], 0);
    let two = night(
        &[("2025-03-03", "N"), ("2025-03-04", "E")],
        &["2025-03-03T21:55:00", "2025-03-04T06:05:00", "2025-03-04T06:58:00", "2025-03-04T15:00:00"],
    );
    assert_eq!((&two["workdays"][0]["worked_s"], &two["workdays"][0]["shift"]), (&json!(29400), &json!("N")));
    assert_eq!((&two["workdays"][1]["worked_s"], &two["workdays"][1]["shift"]), (&json!(28920), &json!("E")));
}

#[test]
fn cases_12_and_13_a_night_with_a_clock_change_has_its_real_length() {
    for (evening, morning, length) in
        [("2025-03-29", "2025-03-30", 25200), ("2025-10-25", "2025-10-26", 32400)]
    {
        let punches = [format!("{evening}T22:00:00"), format!("{morning}T06:00:00")];
        let day = &night(&[(evening, "N")], &[&punches[0], &punches[1]])["workdays"][0];
        assert_eq!((&day["worked_s"], &day["expected_s"]), (&json!(length), &json!(length)));
        assert_eq!((&day["overtime_s"], &day["balance_s"]), (&json!(0), &json!(0)));
    }
}

#[test]
fn case_14_the_nearer_shift_takes_the_punch() {
    let shifts = json!({"L": {"start": "18:00", "end": "07:00"}, "S": {"start": "14:00", "end": "20:00"}});
    let schedule = [("2025-07-13", "L"), ("2025-07-14", "S")];
    let both = answer(&berlin(&shifts, &schedule, &["2025-07-13T18:30:00", "2025-07-14T07:10:00"]));
    let day = &both["workdays"][0];
    assert_eq!(
        (&day["date"], &day["worked_s"], &day["late_s"]),
        (&json!("2025-07-13"), &json!(45600), &json!(1800))
    );
    assert_eq!(both["workdays"][1]["status"], "absent");
}

#[test]
fn case_15_work_on_a_holiday_is_overtime() {
    for (times, overtime) in [(&["10:00:00", "14:00:00"][..], 14400), (&[], 0)] {
        let mut case = day(&json!({}), times);
        case["holidays"] = json!(["2025-03-03"]);
        let day = workday(&case);
        assert_eq!((&day["status"], &day["overtime_s"]), (&json!("holiday"), &json!(overtime)));
    }
}

#[test]
fn a_shift_that_starts_in_a_skipped_hour_begins_when_the_clock_goes_on() {
    let shifts = json!({"E": {"start": "02:30", "end": "10:30"}});
    let punches = ["2025-03-30T03:30:00", "2025-03-30T10:30:00"];
    let day = workday(&berlin(&shifts, &[("2025-03-30", "E")], &punches));
    assert_eq!(
        (&day["expected_s"], &day["late_s"], &day["worked_s"]),
        (&json!(25200), &json!(0), &json!(25200))
    );
    // One that the change swallows whole expects nothing.
    let shifts = json!({"E": {"start": "02:30", "end": "03:00"}});
    assert_eq!(workday(&berlin(&shifts, &[("2025-03-30", "E")], &[]))["expected_s"], 0);
}

#[test]
fn german_breaks_never_push_the_work_below_their_own_threshold() {
    let rules = json!({"break_rules": [[360, 30], [540, 45]]});
    let worked = |out: &str| workday(&day(&rules, &["09:00:00", out]))["worked_s"].clone();
    assert_eq!(worked("15:00:00"), 6 * 3600);
    assert_eq!(worked("15:10:00"), 6 * 3600);
    assert_eq!(worked("16:00:00"), 7 * 3600 - 1800);
    assert_eq!(worked("18:10:00"), 9 * 3600 + 600 - 1800);
    assert_eq!(worked("18:40:00"), 9 * 3600);
    assert_eq!(worked("19:00:00"), 10 * 3600 - 2700);
    // A break that was taken counts.
    let pairs = json!({"pairing": "pairs", "break_rules": [[360, 30]]});
    let taken = workday(&day(&pairs, &["09:00:00", "12:00:00", "12:20:00", "17:00:00"]));
    assert_eq!(taken["worked_s"], 3 * 3600 + 4 * 3600 + 2400 - 600);
}

#[test]
fn leave_and_employment_bound_the_days() {
    let mut case = day(&json!({}), &["09:00:00", "14:00:00"]);
    case["leave"] = json!([{"date": "2025-03-03"}]);
    let day_off = workday(&case);
    assert_eq!((&day_off["status"], &day_off["flags"]), (&json!("leave"), &json!(["worked_on_leave"])));
    assert_eq!((&day_off["worked_s"], &day_off["overtime_s"]), (&json!(18000), &json!(0)));
    case["leave"] = json!([{"date": "2025-03-03", "half": true}]);
    let half = workday(&case);
    assert_eq!((&half["status"], &half["expected_s"]), (&json!("present"), &json!(16200)));
    assert_eq!((&half["overtime_s"], &half["flags"]), (&json!(1800), &json!(["half_leave"])));
    case["employed"] = json!({"from": "2025-03-04"});
    let outside = answer(&case);
    assert_eq!((&outside["workdays"], outside["unassigned"].as_array().map(Vec::len)), (&json!([]), Some(2)));
}

#[test]
fn a_reason_is_a_code_with_its_figures() {
    let reasons = |case: &Value| -> Vec<Value> {
        let why = workday(case)["why"].clone();
        let texts = why.as_array().expect("reasons").iter().map(|reason| reason.as_str().expect("a text"));
        texts.map(|text| serde_json::from_str(text).expect("JSON")).collect()
    };
    let mut case = day(&json!({"grace_late_min": 5}), &["09:25:00", "09:25:30", "18:10:00"]);
    let of_late = reasons(&case);
    for expected in [
        json!({"code": "shift", "name": "D", "starts_at": "2025-03-03T08:00:00Z", "ends_at": "2025-03-03T17:00:00Z",
            "opens_at": "2025-03-03T06:00:00Z", "closes_at": "2025-03-04T01:00:00Z"}),
        json!({"code": "punch", "at": "2025-03-03T08:25:30Z", "role": "duplicate", "terminal": null,
            "direction": "unknown", "clock": "synchronised"}),
        json!({"code": "late", "late_s": 1500, "due_at": "2025-03-03T08:00:00Z", "grace_s": 300}),
        json!({"code": "expected", "expected_s": 32400, "basis": "shift_length"}),
    ] {
        assert!(of_late.contains(&expected), "{expected} in {of_late:?}");
    }
    // Less than the tolerance, which does not hold on a day off.
    case["holidays"] = json!(["2025-03-03"]);
    case["punches"].as_array_mut().expect("punches")[2]["at"] = json!("2025-03-03T09:35:00+01:00");
    let of_holiday = reasons(&case);
    assert!(of_holiday.contains(&json!({"code": "day_off_overtime", "overtime_s": 600})), "{of_holiday:?}");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let refused = |key: &str, value: Value, expected: &str| {
        let mut case = day(&json!({}), &["09:00:00"]);
        match key.split_once('.') {
            Some((outer, inner)) if case[outer].is_array() => case[outer][0][inner] = value,
            Some((outer, inner)) => case[outer]["D"][inner] = value,
            None => case[key] = value,
        }
        let error = Scenario::read(&case.to_string()).err().expect("refused").0;
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    };
    refused("zone", json!("Mars/Base"), "zone: ");
    refused("extra", json!(1), "extra");
    refused("from", json!("2025-02-30"), "from: ");
    refused("from", json!("2026-01-01"), "from: ");
    refused("duplicate_within_s", json!(-1), "duplicate_within_s: ");
    refused("shifts.start", json!("24:00"), "shifts.D.start: ");
    refused("shifts.start", json!("9:00"), "shifts.D.start: ");
    refused("shifts.pairing", json!("all"), "shifts.D.pairing: ");
    refused("shifts.grace_late_min", json!(1.5), "shifts.D.grace_late_min: ");
    refused("shifts.grace_late_min", json!(10081), "shifts.D.grace_late_min: ");
    refused("shifts.break_rules", json!([[360, -30]]), "shifts.D.break_rules[0]");
    refused("employed", json!([]), "employed: ");
    refused("punches", json!([["2025-03-03T09:00:00Z"]]), "punches[0]: ");
    refused("schedule.shift", json!("X"), "schedule[0].shift: ");
    refused("schedule.zone", json!("X/Y"), "schedule[0].zone: ");
    refused("punches.at", json!("2025-03-03T09:00:00"), "punches[0].at: ");
    refused("punches.at", json!("2025-03-03T09:00:00+25:00"), "punches[0].at: ");
    refused("punches.direction", json!("up"), "punches[0].direction: ");
    refused("punches.clock", json!("wrong"), "punches[0].clock: ");
    refused(
        "leave",
        json!([{"date": "2025-03-03"}, {"date": "2025-03-03", "half": true}]),
        "leave[1].date: ",
    );
    let twice = json!([{"date": "2025-03-03", "shift": "D"}, {"date": "2025-03-03", "shift": "D"}]);
    refused("schedule", twice, "schedule[1]: ");
    for text in ["", "[", "{} x", "null"] {
        assert!(Scenario::read(text).is_err(), "{text}");
    }
    let mut missing = day(&json!({}), &[]);
    missing.as_object_mut().expect("an object").remove("punches");
    assert!(Scenario::read(&missing.to_string()).err().expect("refused").0.contains("punches"));
}

const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Apia",
    "Africa/Casablanca",
    "UTC",
];

fn rules() -> impl Strategy<Value = Rules> {
    let hours = (0..24_u16, 0..60_u16, 0..24_u16, 0..60_u16);
    let counts = (0..60_u16, 0..700_u16, 0..60_u16, 0..90_u16);
    (hours, counts, any::<(bool, bool)>(), proptest::option::of(0..600_u16), 0..3_usize).prop_map(
        |((h, m, eh, em), (grace, window, tolerance, pause), (pairs, early), expected, breaks)| {
            let breaks_by_law = [[360, 30], [540, 45]];
            let rules = json!({"start": format!("{h:02}:{m:02}"), "end": format!("{eh:02}:{em:02}"),
                "pairing": if pairs { "pairs" } else { "first_last" }, "grace_late_min": grace, "grace_early_min": grace,
                "overtime_tolerance_min": tolerance, "unpaid_break_min": pause, "window_before_min": window,
                "window_after_min": window, "count_early_arrival": early, "expected_min": expected,
                "core_start": if early { Some("10:00") } else { None }, "core_end": if pairs { Some("03:00") } else { None },
                "break_rules": &breaks_by_law[..breaks]});
            serde_json::from_value(rules).expect("rules")
        },
    )
}

/// Dates around both clock changes, leap days and the turn of a year.
fn first_day() -> impl Strategy<Value = Date> {
    prop_oneof![
        Just(date(2024, 2, 27)),
        Just(date(2025, 3, 28)),
        Just(date(2025, 10, 24)),
        Just(date(2025, 3, 7)),
        Just(date(2025, 4, 4)),
        Just(date(2011, 12, 29)),
        Just(date(2025, 12, 30)),
        Just(date(9999, 12, 27)),
    ]
}

prop_compose! {
    fn facts()(
        zone in proptest::sample::select(&ZONES[..]),
        elsewhere in proptest::sample::select(&ZONES[..]),
        first in first_day(),
        rules in proptest::collection::vec(rules(), 1..4),
        entries in proptest::collection::vec((0..5_i64, 0..4_usize, any::<bool>()), 0..6),
        punches in proptest::collection::vec((-86_400..500_000_i64, 0..3_u8, 0..3_u8, 0..8_u8, 0..70_i64), 0..20),
        holidays in proptest::collection::btree_set(0..5_i64, 0..2),
        leave in proptest::collection::btree_map(0..5_i64, any::<bool>(), 0..2),
        ends in proptest::option::of(0..5_i64),
    ) -> Facts {
        let zone = TimeZone::get(zone).expect("bundled");
        let elsewhere = TimeZone::get(elsewhere).expect("bundled");
        let day = |n: i64| first.checked_add(n.days()).expect("in the calendar");
        let midnight = first.to_zoned(zone.clone()).expect("a day").timestamp().as_second();
        let shifts: Vec<Arc<Shift>> = rules.into_iter().enumerate()
            .map(|(i, rules)| Arc::new(Shift { name: format!("S{i}").into(), rules })).collect();
        let mut seen = BTreeSet::new();
        let entries: Vec<Entry> = entries.into_iter().map(|(n, shift, away)| Entry {
            date: day(n),
            shift: shifts[shift % shifts.len()].clone(),
            zone: if away { elsewhere.clone() } else { zone.clone() },
        }).filter(|entry| seen.insert((entry.date, entry.shift.name.clone()))).collect();
        let punches = punches.into_iter().flat_map(|(at, way, terminal, clock, after)| {
            let direction = [Direction::In, Direction::Out, Direction::Unknown][usize::from(way)];
            let clock = if clock == 0 { ClockState::Estimated } else { ClockState::Synchronised };
            let punch = Punch { at: midnight + at, direction, terminal: format!("T{terminal}").into(), clock };
            [punch.clone(), Punch { at: punch.at + after * 7, ..punch }]
        }).collect();
        Facts {
            zone, entries, punches, scheduled: true,
            holidays: holidays.into_iter().map(day).collect(),
            leave: leave.into_iter().map(|(n, half)| (day(n), if half { Leave::Half } else { Leave::Whole })).collect(),
            employed: Employment { from: None, to: ends.map(day) },
            duplicate_within_s: 60,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_order_of_arrival_and_repetition_change_nothing(facts in facts(), seed in any::<u64>()) {
        let once = assess(&facts);
        let mut shuffled = facts.clone();
        shuffled.punches.reverse();
        let turn = seed as usize % shuffled.punches.len().max(1);
        shuffled.punches.rotate_left(turn);
        shuffled.entries.reverse();
        prop_assert_eq!(&once, &assess(&shuffled));
        let mut twice = facts.clone();
        twice.punches.extend(facts.punches.clone());
        let twice = assess(&twice);
        prop_assert_eq!(&once.workdays, &twice.workdays);
        prop_assert_eq!(&once.unassigned, &twice.unassigned);
    }

    #[test]
    fn every_punch_ends_in_one_place_and_the_hours_add_up(facts in facts()) {
        let found = assess(&facts);
        let used: usize = found.workdays.iter().map(|day| day.punches.len()).sum();
        prop_assert_eq!(used + found.dropped.len() + found.unassigned.len(), facts.punches.len());
        for day in &found.workdays {
            prop_assert!(facts.employed.covers(day.date));
            let closed = &day.paired.closed;
            prop_assert_eq!(day.worked_s.is_some(), !closed.is_empty());
            if let (Some(worked), Some(first), Some(last)) = (day.worked_s, closed.first(), closed.last()) {
                let gaps: i64 = closed.windows(2).map(|pair| pair[1].0 - pair[0].1).sum();
                prop_assert_eq!(worked + day.break_s + gaps, last.1 - first.0);
                prop_assert!(worked >= 0 && day.break_s >= 0 && gaps >= 0);
            }
            prop_assert!(day.expected_s >= 0 && day.late_s >= 0 && day.early_s >= 0 && day.overtime_s >= 0);
            prop_assert_eq!(day.balance_s.is_none(), day.worked_s.is_none() && !day.punches.is_empty()
                && day.status != Status::Leave);
            let reasons = why(day, &found.dropped);
            let codes: Vec<Value> = reasons.iter().map(|reason| json!(reason)["code"].clone()).collect();
            let given = |code: &str| codes.contains(&json!(code));
            prop_assert!(given(day.status.as_str()));
            prop_assert!(day.flags.iter().all(|flag| given(flag.as_str())));
            prop_assert_eq!((day.late_s > 0, day.early_s > 0), (given("late"), given("early")));
            prop_assert_eq!(day.overtime_s > 0, given("overtime") || given("day_off_overtime"));
            prop_assert_eq!(day.break_s > 0, given("breaks"));
        }
    }

    #[test]
    fn no_text_makes_reading_a_scenario_panic(text in "\\PC*") {
        let _ = Scenario::read(&text);
    }

    #[test]
    fn a_scenario_with_any_value_in_any_place_is_read_or_refused(
        key in proptest::sample::select(&["zone", "from", "to", "shifts", "schedule", "holidays", "leave",
            "employed", "duplicate_within_s", "punches"][..]),
        value in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!("")), Just(json!([])), Just(json!({})), Just(json!([[]])),
            Just(json!([{}])), Just(json!({"D": {}})), Just(json!(1e300)), Just(json!(["9999-12-31"])),
        ],
    ) {
        let mut case = day(&json!({}), &["09:00:00"]);
        case[key] = value;
        if let Ok(scenario) = Scenario::read(&case.to_string()) {
            serde_json::to_value(scenario.assess(|reason, _| json!(reason).to_string())).expect("prints");
        }
    }
}

#[test]
fn facts_at_the_ends_of_the_calendar_do_not_panic() {
    let zone = TimeZone::get("Pacific/Apia").expect("bundled");
    let shift = Arc::new(Shift { name: "S".into(), rules: Rules::default() });
    for day in [Date::MIN, Date::MAX] {
        for at in [Timestamp::MIN, Timestamp::MAX] {
            let punch = Punch::new(at, Direction::Unknown, "".into(), ClockState::Synchronised);
            let entry = Entry { date: day, shift: shift.clone(), zone: zone.clone() };
            let facts = Facts {
                zone: zone.clone(),
                entries: vec![entry],
                scheduled: true,
                holidays: BTreeSet::new(),
                leave: BTreeMap::new(),
                employed: Employment::default(),
                duplicate_within_s: 60,
                punches: vec![punch],
            };
            let found = assess(&facts);
            assert!(found.workdays.iter().all(|day| !why(day, &[]).is_empty()));
            assert_eq!(timestamp(at.as_second()), Timestamp::from_second(at.as_second()).expect("in range"));
        }
    }
}
