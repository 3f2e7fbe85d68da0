//! What can go wrong for the one who asks, as data: a code, its parameters, the field. The text of a code is the
//! message `error-CODE` of `i18n`. Knows no rule and no HTTP.

use std::borrow::Cow;
use std::fmt;

use fluent_bundle::FluentArgs;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::i18n::Language;
use crate::person::PersonNumber;

/// What kind of a problem it is, as a client tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong: the same one will never do.
    Invalid,
    /// There is nobody logged in.
    Unauthorized,
    /// Not for the one who asked.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Not as things stand.
    Conflict,
    /// The request is right, but the photo or the file in it can't be used.
    Unusable,
    /// Too much at once: later.
    TooMany,
    /// This program was built without it.
    NotBuilt,
}

macro_rules! problems {
    ($($kind:ident { $($variant:ident $({ $($name:ident: $type:ty),* })?,)* })*) => {
        /// Everything that can go wrong for the one who asks.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "code", content = "parameters", rename_all = "kebab-case")]
        pub enum Problem { $($( $variant $({ $($name: $type),* })?, )*)* }

        impl Problem {
            /// All variants, each with the names of its parameters.
            const ALL: &[(&str, &[&str])] = &[$($((stringify!($variant), &[$($(stringify!($name)),*)?]),)*)*];

            /// What kind of a problem it is.
            pub fn kind(&self) -> Kind {
                match self { $($(Self::$variant { .. } => Kind::$kind,)*)* }
            }
        }
    };
}

problems! {
    Invalid {
        BodyInvalid { reason: String },
        BreakRuleCount { most: usize },
        CharacterNotStored,
        CorrectionEmpty,
        CorrectionTooLong { adds: usize, ignores: usize },
        CorrectionNotApproved { id: i64 },
        CycleLength { days: usize, cycle: i32 },
        EmailInvalid { most: usize },
        EmploymentEndsBeforeStart,
        FormFile,
        FieldMissing,
        FieldUnknown { known: String },
        FormInvalid,
        FormPhotos { most: usize },
        InFuture { at: Timestamp },
        IntervalReversed { from: Date, to: Date },
        IntervalTooLong { days: i32 },
        NotEachOnce { allowed: String },
        NotOneOf { word: String, known: String },
        OneDateOnly,
        OutOfRange { least: i64, most: i64 },
        OwnManager,
        PagesAreJson,
        PairingCodeInvalid,
        PairingKeyMismatch,
        PairingRequestInvalid { reason: String },
        PathInvalid { reason: String },
        PdfTooLong { rows: usize },
        PhotoCount { most: usize, kept: usize },
        PhotoTooLarge { mebibytes: usize },
        PunchesNotOfPerson { number: PersonNumber },
        QueryInvalid { reason: String },
        ScheduleEndsBeforeStart,
        ShiftTwice { shift: String },
        TextInvalid { most: usize },
        TimeZoneUnknown { zone: String },
        TooFarFromDate { at: Timestamp, days: i32, date: Date },
        TooManyRows { rows: i64 },
        TooManyShifts { most: usize },
    }
    Unauthorized {
        LoginFailed,
        LoginRequired,
    }
    Forbidden {
        AccountWithoutPerson { account: String, role: String },
        ForAdmin,
        ForStaff,
        ForTheirManager,
        OwnDays,
        OwnDecision,
        OwnEmployment,
        OwnPunches,
        OwnRequest,
        PairingCodeWrong { attempts_left: i64 },
        PersonOutOfScope { number: PersonNumber },
    }
    NotFound {
        AdjustmentUnknown { id: i64 },
        CalendarUnknown { calendar: String },
        CorrectionUnknown { id: i64 },
        DepartmentUnknown { department: String },
        HolidayUnknown { calendar: String, date: Date },
        LeaveUnknown { number: PersonNumber, from: Date, to: Date },
        NotificationUnknown { id: Uuid },
        OverrideUnknown { number: PersonNumber, date: Date },
        PairingUnknown { terminal: String },
        PathUnknown,
        PeriodUnknown { id: i64 },
        PersonUnknown { number: PersonNumber },
        ScheduleUnknown { schedule: String },
        ShiftUnknown { shift: String },
        SiteUnknown { site: String },
        TerminalNotAccepted { terminal: String },
        TerminalUnknown { terminal: String },
        UndatedPunchUnknown { id: Uuid },
        WorkdayUnknown { number: PersonNumber, date: Date },
    }
    Conflict {
        AbsencesAwaitTerminal { absences: i64 },
        AdjustmentChanged { id: i64 },
        AdjustmentSettled { id: i64 },
        ChangedMeanwhile,
        ConsentMissing { number: PersonNumber },
        CorrectionDecided { id: i64, state: String, by: String },
        CorrectionRevoked { id: i64 },
        CorrectionsPending { number: PersonNumber, most: i64 },
        DoorMissing { terminal: String },
        ImportRunning,
        NotificationSent { id: Uuid },
        NumberTaken { number: PersonNumber },
        PairingAccepted { terminal: String },
        PairingNotPending { terminal: String, state: String },
        PairingQueueFull,
        PeriodApproved { id: i64 },
        PeriodApprovedNotReopened { id: i64 },
        PeriodAwaitsComputation { id: i64, requests: i64 },
        PeriodHasOpenDays { id: i64, days: i64 },
        PeriodLocked { id: i64 },
        PeriodLockedNotReopened { id: i64 },
        PeriodNotApproved { id: i64 },
        PeriodNotOver { id: i64, last: Date, site: String },
        PeriodOpen { id: i64 },
        PeriodOverlaps { from: Date, to: Date },
        SiteTaken { site: String },
        WorkdayOpen { until: String },
    }
    Unusable {
        CellEmpty,
        CellHasControlCharacter,
        CellHoldsError { error: String },
        CellNotDate { text: String },
        CellNotYesOrNo { text: String },
        CellTooLong { most: usize },
        CellWithoutColumn,
        ColumnMissing,
        ColumnTwice,
        ColumnUnknown { known: String },
        EmploymentReversed { from: Date, to: Date },
        FileDamaged { file: String },
        FileEmpty { file: String },
        FileHasProblems { count: usize },
        FileHasTooManyColumns { row: u32, most: usize },
        FileHasTooManyDays { most: usize },
        FileHasTooManyRows { most: usize },
        FileHasTooMuchText { mebibytes: usize },
        FileNotUtf8 { line: usize },
        FileOldFormat { file: String },
        FileQuotationOpen { row: u32 },
        FileTooLarge { file: String, mebibytes: usize },
        LanguageUnknown { language: String, known: String },
        ManagerUnknown { number: String },
        NumberFractional { number: String },
        PhotoBlurred { photo: String },
        PhotoFaceCovered { photo: String },
        PhotoFaceSmall { photo: String, least: u32 },
        PhotoFaceTurned { photo: String },
        PhotoOfSomebodyElse { photo: String },
        PhotoOverexposed { photo: String },
        PhotoSideways { photo: String },
        PhotoTooDark { photo: String },
        PhotoUnreadable { photo: String, reason: String },
        PhotoWithSeveralFaces { photo: String, faces: usize },
        PhotoWithoutFace { photo: String },
        RowOverlaps { row: u32 },
        RowOwnDays,
        RowOwnManager,
        RowPersonUnknown { number: String },
        RowRepeats { number: String, row: u32 },
        RowSiteUnknown { site: String, known: String },
        RowTooManyDays { most: i32 },
        WorkbookTooComplex,
        WorkbookTooLarge { mebibytes: u64 },
        WorkbookTooManyParts { most: usize },
        WorkbookTooManyTexts { most: usize },
        WorkbookUnreadable { reason: String },
        WorkbookWithoutSheet,
    }
    TooMany {
        AccountBusy { most: usize },
        AddressTooOften,
        PdfQueueFull,
        TooManyStreams { most: usize },
    }
    NotBuilt {
        PdfNotBuilt,
    }
}

impl Problem {
    /// The codes of all problems.
    pub fn codes() -> impl Iterator<Item = String> {
        Self::ALL.iter().map(|(name, _)| code(name))
    }

    /// The code and the parameters, an object.
    pub fn data(&self) -> (String, Value) {
        let mut data = serde_json::to_value(self).unwrap_or_default();
        let parameters = match data["parameters"].take() {
            Value::Null => Value::Object(serde_json::Map::new()),
            parameters => parameters,
        };
        (data["code"].as_str().unwrap_or_default().to_owned(), parameters)
    }

    /// One or two sentences for a person: what is wrong, and the way out.
    pub fn text(&self, language: Language) -> String {
        let (code, parameters) = self.data();
        let mut arguments = FluentArgs::new();
        for (name, value) in parameters.as_object().into_iter().flatten() {
            match value {
                Value::Number(number) => arguments.set(name.clone(), number.as_f64().unwrap_or_default()),
                Value::String(text) => arguments.set(name.clone(), text.clone()),
                other => arguments.set(name.clone(), other.to_string()),
            }
        }
        language.text(&format!("error-{code}"), &arguments)
    }

    /// The problem as one of a field of the request, which then is wrong.
    pub fn of(self, field: impl Into<Cow<'static, str>>) -> Error {
        Error::Problem { problem: self, field: Some(field.into()) }
    }
}

/// The code of a variant: `PersonUnknown` is `person-unknown`, as serde writes it.
fn code(variant: &str) -> String {
    let mut code = String::with_capacity(variant.len() + 4);
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() && !code.is_empty() {
            code.push('-');
        }
        code.push(letter.to_ascii_lowercase());
    }
    code
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::English))
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The one who asked can do something about it.
    #[error("{}{problem}", field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
    Problem {
        /// What is wrong.
        problem: Problem,
        /// The field of the request that it is wrong with.
        field: Option<Cow<'static, str>>,
    },
    /// They can't: the log says what happened.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem { problem, field: None }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Refuses a text that is empty, too long, has blanks at its ends or holds control characters.
pub fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), Error> {
    let length = text.chars().count();
    if (1..=most).contains(&length) && text.trim() == text && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(Problem::TextInvalid { most }.of(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::tests::assert_given;

    #[test]
    fn texts_have_limits() {
        assert!(check_text("name", "Früh 1", 100).is_ok());
        assert!(check_text("name", &"ü".repeat(100), 100).is_ok());
        for wrong in ["", " ", "early ", "two\nlines", &"x".repeat(101)] {
            let error = check_text("name", wrong, 100).expect_err("refused").to_string();
            assert!(error.starts_with("name: 1 to 100 characters"), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn every_problem_has_a_text() {
        for (variant, parameters) in Problem::ALL {
            let arguments = parameters.iter().map(|name| (*name, "")).collect();
            assert_given(&format!("error-{}", code(variant)), &arguments);
        }
    }

    #[test]
    fn a_problem_is_a_code_with_parameters_and_a_sentence() {
        let problem = Problem::IntervalTooLong { days: 366 };
        assert_eq!(problem.data(), ("interval-too-long".into(), serde_json::json!({"days": 366})));
        assert!(Problem::codes().any(|code| code == "interval-too-long"));
        assert_eq!(problem.of("to").to_string(), "to: at most 366 days at a time");
    }
}
