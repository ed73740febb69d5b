//! Points in time and durations for people: `3m ago`, `in 4h`, `2m 10s`. The current time is an argument.

use jiff::{SignedDuration, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `3m ago`, or `in 3m` for the future.
#[must_use]
pub(crate) fn relative(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{} ago", rough(seconds)),
        _ => format!("in {}", rough(-seconds)),
    }
}

/// `3m`: an age.
#[must_use]
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    rough(now.duration_since(then).as_secs().max(0))
}

/// `2m 10s`: a duration.
#[must_use]
pub(crate) fn took(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m {}s", seconds / MINUTE, seconds % MINUTE),
        _ => format!("{}h {}m", seconds / HOUR, seconds % HOUR / MINUTE),
    }
}

/// A duration in a single unit: the largest one that keeps two digits, if possible.
fn rough(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / MINUTE),
        7200..172_800 => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn moments_read_as_people_say_them() {
        for (seconds, said) in [
            (0, "now"),
            (-5, "5s ago"),
            (-119, "119s ago"),
            (-120, "2m ago"),
            (-7199, "119m ago"),
            (-7200, "2h ago"),
            (-172_800, "2d ago"),
            (-100 * DAY, "100d ago"),
            (59, "in 59s"),
            (10_000, "in 2h"),
        ] {
            assert_eq!(relative(at(seconds), at(0)), said);
        }
    }

    #[test]
    fn a_duration_is_given_in_two_units() {
        for (seconds, said) in [(0, "0s"), (59, "59s"), (130, "2m 10s"), (3660, "1h 1m"), (90_000, "25h 0m")] {
            assert_eq!(took(SignedDuration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn a_clock_that_is_behind_makes_no_negative_age() {
        assert_eq!(age(at(10), at(0)), "0s");
    }
}
