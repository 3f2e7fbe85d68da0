//! Parameters that many routes take.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::date::{Date, range};
use crate::web::error::ApiError;

/// Days of a range at a time, at most.
const DAYS: i32 = 366;

/// Whether a change is only tried.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DryRun {
    /// `true`: nothing is changed; the answer says what would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which days, both inclusive; at most 366.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Between {
    /// First date, `YYYY-MM-DD`.
    from: Date,
    /// Last date.
    to: Date,
}

impl Between {
    /// The dates.
    pub fn dates(&self) -> Result<(Date, Date), ApiError> {
        Ok(range(self.from, self.to, DAYS)?)
    }
}
