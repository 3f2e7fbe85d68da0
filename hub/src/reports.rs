//! What came in and what it means, for those who may see it. Every look is audited.

pub mod csv;
pub mod punches;
pub mod timesheet;
