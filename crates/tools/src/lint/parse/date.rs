//! Dates of playlists (ISO 8601) and of HTTP headers, as seconds since 1970.
//!
//! Knows the calendar, no clock.

/// Reads `2026-11-20T17:25:00.123Z` or with an offset (`+01:00`, `+0100`, `+01`): seconds since 1970. A time without a
/// zone is taken as UTC.
pub fn parse_iso_date(text: &str) -> Option<f64> {
    let text = text.trim();
    let (day, clock) = text.split_once(['T', 't', ' '])?;
    let mut parts = day.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let date = digits(parts.next()?, 2)?;
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (time, zone) = clock.split_at_checked(zone_at)?;
    let mut parts = time.splitn(3, ':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = super::decimal(parts.next()?)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&date) || hour > 24 || minute > 59 || second >= 61.0 {
        return None;
    }
    let days = days_from_civil(year, month, date);
    let whole = days * 86_400 + hour * 3600 + minute * 60 - offset(zone)?;
    Some(whole as f64 + second)
}

/// Reads an HTTP date (RFC 9110 §5.6.7): seconds since 1970.
pub fn parse_http_date(text: &str) -> Option<f64> {
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next() {
        None | Some('Z' | 'z') => return (zone.len() <= 1).then_some(0),
        Some('+') => 1,
        Some('-') => -1,
        Some(_) => return None,
    };
    let rest: String = zone.chars().skip(1).filter(|c| *c != ':').collect();
    let (hours, minutes) = match rest.len() {
        2 => (digits(&rest, 2)?, 0),
        4 => (digits(rest.get(..2)?, 2)?, digits(rest.get(2..)?, 2)?),
        _ => return None,
    };
    Some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &str, length: usize) -> Option<i64> {
    let legal = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    legal.then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, for years 0 to 9999.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day is the last one.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-02-29T00:00:00Z", 951_782_400.0),
            ("2026-11-20T17:25:00.5Z", 1_795_195_500.5),
            ("2026-11-20T18:25:00.500+01:00", 1_795_195_500.5),
            ("2026-11-20T18:25:00.500+0100", 1_795_195_500.5),
            ("2026-11-20T12:25:00.500-05", 1_795_195_500.5),
            ("2026-11-20T17:25:00.5", 1_795_195_500.5),
        ] {
            assert_eq!(parse_iso_date(text), Some(expected), "{text}");
        }
        for text in ["", "2026-11-20", "2026-13-01T00:00:00Z", "x", "2026-11-20T25:00:00Z", "2026-11-20T17:25Z"] {
            assert_eq!(parse_iso_date(text), None, "{text}");
        }
    }

    #[test]
    fn http_dates_are_seconds_since_1970() {
        assert_eq!(parse_http_date("Fri, 20 Nov 2026 17:25:00 GMT"), Some(1_795_195_500.0));
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
