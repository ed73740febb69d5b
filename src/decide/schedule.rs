//! The schedule: a crontab line and a time zone → which time has passed, and which comes next.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::lifecycle::Due;

/// A schedule that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The crontab line cannot be read.
    #[error("spec.schedule.cron: {cron:?} cannot be read: {why}; write five fields such as \"0 3 * * *\", or @daily")]
    Cron {
        /// What was written.
        cron: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such time zone.
    #[error("spec.schedule.timeZone: {0:?} is no time zone; write it like Europe/Berlin, or leave it out for UTC")]
    TimeZone(String),
}

/// The times of a schedule around `now`: the newest one after `handled_until` that has passed, and the next one.
/// `cron` has five fields or is a name such as `@daily`; `zone` is an IANA time zone.
/// A time that summer time leaves out is made up for when the clock has passed it; one that comes twice counts once.
///
/// # Errors
/// [`ScheduleError`] when the schedule cannot be read.
pub fn due(cron: &str, zone: &str, handled_until: Option<Timestamp>, now: Timestamp) -> Result<Due, ScheduleError> {
    let (cron, zone) = read(cron, zone)?;
    let here: Zoned = now.to_zoned(zone);
    let passed = cron.find_previous_occurrence(&here, true).ok().map(|time| time.timestamp());
    // A clock that was set back makes the past of the record the future.
    let handled_until = handled_until.map_or(now, |handled| handled.min(now));
    Ok(Due {
        passed: passed.filter(|passed| *passed > handled_until),
        next: cron.find_next_occurrence(&here, false).ok().map(|time| time.timestamp()),
    })
}

fn read(cron: &str, zone: &str) -> Result<(Cron, TimeZone), ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron =
        parser.parse(cron).map_err(|error| ScheduleError::Cron { cron: cron.to_owned(), why: error.to_string() })?;
    Ok((cron, TimeZone::get(zone).map_err(|_| ScheduleError::TimeZone(zone.to_owned()))?))
}
