//! The date of an entry, as dpkg's strptime(3) of `%d %b %Y %T %z` takes it.

use chrono::{Days, NaiveDate};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// The parts of a date, as text of the form that a trailer has.
pub struct Date<'a> {
    pub day: &'a str,
    pub month: &'a str,
    pub year: &'a str,
    pub time: &'a str,
    pub zone: &'a str,
}

impl Date<'_> {
    /// Seconds since 1970-01-01 UTC, or why there are none. The weekday plays no part, and a day
    /// that its month has not is one of the next month.
    pub fn seconds(&self) -> Result<i64, String> {
        let number = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let month = MONTHS.iter().position(|name| self.month.eq_ignore_ascii_case(name)).ok_or_else(|| {
            format!("has a date whose month is '{}': write the first three letters of its English name", self.month)
        })?;
        let month = month as u32 + 1;
        let (year, day) = (number(self.year), number(self.day));
        if year < 1900 {
            return Err(format!(
                "has a date of the year {}, and dpkg knows none before 1900",
                self.year
            ));
        }
        let mut time = self.time.split(':').map(number);
        let mut part = || time.next().unwrap_or(u32::MAX);
        let (hours, minutes, seconds) = (part(), part(), part());
        if day > 31 || hours > 23 || minutes > 59 || seconds > 59 {
            return Err(format!(
                "has a date that there is not: {} {} {} {}",
                self.day, self.month, self.year, self.time
            ));
        }
        let first =
            NaiveDate::from_ymd_opt(year as i32, month, 1).ok_or("has a date that there is not")?;
        // dpkg takes the 0th of January for the 1st, and that of other months for the day before
        // the 1st.
        let start = match (day, month) {
            (0, 1) => Some(first),
            (0, _) => first.pred_opt(),
            _ => first.checked_add_days(Days::new(u64::from(day) - 1)),
        };
        let start = start.ok_or("has a date that there is not")?;
        let midnight = start.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
        let of_day = i64::from(hours * 3600 + minutes * 60 + seconds);
        let (sign, zone) = self.zone.split_at(1);
        let offset = i64::from(number(&zone[..2]) * 3600 + number(&zone[2..]) * 60);
        Ok(midnight + of_day - if sign == "-" { -offset } else { offset })
    }
}
