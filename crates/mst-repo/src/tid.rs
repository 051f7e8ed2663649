//! Timestamp identifiers: revisions, and the keys of most records.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// A TID: a time in microseconds and the number of a clock, as 13 characters that sort by time.
///
/// A repository's revision is a TID that only increases; [`after`](Self::after) makes the next.
///
/// Source: <https://atproto.com/specs/tid>
///
/// # Examples
///
/// ```
/// use mst_repo::Tid;
///
/// let tid: Tid = "3jzfcijpj2z2a".parse()?;
/// assert_eq!(tid.micros(), 1_688_137_381_887_007);
/// assert_eq!(tid.clock(), 6);
/// assert_eq!(tid.to_string(), "3jzfcijpj2z2a");
/// assert!(Tid::now(6).after(tid) > Some(tid));
/// # Ok::<(), mst_repo::InvalidTid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(u64);

/// The characters for the numbers from 0 to 31.
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";

/// Each character has 5 bits, so 13 of them have one more than the 64 bits of a TID.
const LEN: usize = 13;
const CHARACTER_BITS: u32 = 5;
const CLOCK_BITS: u32 = 10;
/// The first of the 64 bits is 0 in every actual time; the syntax allows it to be 1.
const MICROS_BITS: u32 = 53;

impl Tid {
    /// Makes the TID of a time, in microseconds since 1970, and the number of a clock. Only the
    /// lowest 53 bits of the time are used, which suffice until the year 2255, and the lowest 10
    /// bits of the clock's number.
    pub fn new(micros: u64, clock: u16) -> Self {
        let micros = micros & ((1 << MICROS_BITS) - 1);
        Self(micros << CLOCK_BITS | u64::from(clock) & ((1 << CLOCK_BITS) - 1))
    }

    /// Makes the TID of the present time, by the system's clock. Two within a microsecond are the
    /// same: if you need several, as for the keys of records made at once, make each from the one
    /// before with [`after`](Self::after).
    pub fn now(clock: u16) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // The time of a clock before 1970 is useless; `after` corrects it.
        let micros = since.map_or(0, |since| since.as_micros());
        Self::new(u64::try_from(micros).unwrap_or(u64::MAX), clock)
    }

    /// Returns a clock number that another clock is unlikely to have.
    pub fn random_clock() -> u16 {
        let random = RandomState::new().hash_one(()) & ((1 << CLOCK_BITS) - 1);
        u16::try_from(random).unwrap_or(0)
    }

    /// Returns this TID if it is greater than `previous`, or otherwise one of this clock that is:
    /// one microsecond after `previous`. `None` at the end of time, in the year 2540, which anybody
    /// can write into a commit.
    ///
    /// If the clock was set back, or two commits are made within a microsecond, the revision must
    /// still increase.
    pub fn after(self, previous: Self) -> Option<Self> {
        if self > previous {
            return Some(self);
        }
        let micros = previous.micros() + 1;
        let clock = u64::from(self.clock());
        (micros <= u64::MAX >> CLOCK_BITS).then_some(Self(micros << CLOCK_BITS | clock))
    }

    /// Returns the time, in microseconds since 1970.
    pub fn micros(self) -> u64 {
        self.0 >> CLOCK_BITS
    }

    /// Returns the time in the format of `datetime` strings in a lexicon, in UTC, as in records and
    /// in messages of the firehose.
    ///
    /// # Examples
    ///
    /// ```
    /// use mst_repo::Tid;
    ///
    /// let tid: Tid = "3jzfcijpj2z2a".parse()?;
    /// assert_eq!(tid.to_datetime(), "2023-06-30T15:03:01.887007Z");
    /// # Ok::<(), mst_repo::InvalidTid>(())
    /// ```
    pub fn to_datetime(self) -> String {
        let (seconds, micros) = (self.micros() / 1_000_000, self.micros() % 1_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }

    /// Returns the number of the clock, less than 1,024.
    pub fn clock(self) -> u16 {
        u16::try_from(self.0 & ((1 << CLOCK_BITS) - 1)).unwrap_or(0)
    }
}

/// The year, month and day that is `days` days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March here, so that a leap day is the last of its year, and months are
    // 30.6 days apart.
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + DAYS_BEFORE_1970;
    let (cycle, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * cycle + year + carry, month, day)
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; LEN];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            let value = usize::try_from(rest % 32).unwrap_or(0);
            *place = ALPHABET.get(value).copied().unwrap_or(b'2');
            rest >>= CHARACTER_BITS;
        }
        f.pad(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tid({self})")
    }
}

/// As text, in all formats.
impl Serialize for Tid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl From<Tid> for String {
    fn from(tid: Tid) -> Self {
        tid.to_string()
    }
}

impl FromStr for Tid {
    type Err = InvalidTid;

    fn from_str(text: &str) -> Result<Self, InvalidTid> {
        if text.len() != LEN {
            return Err(InvalidTid);
        }
        let value = text.bytes().try_fold(0_u64, |value, byte| {
            let digit = ALPHABET.iter().position(|character| *character == byte)?;
            // 13 characters have one bit more than a TID.
            let shifted = value.checked_mul(1 << CHARACTER_BITS)?;
            Some(shifted | digit as u64)
        });
        value.map(Self).ok_or(InvalidTid)
    }
}

/// A text is not a TID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a TID, which is 13 of the characters 2-7 and a-z, the first no greater than j")]
pub struct InvalidTid;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
mod tests {
    use super::{CLOCK_BITS, Tid, date};

    #[test]
    fn a_tid_is_text_in_any_format() {
        let (text, tid) = ("3jzfcijpj2z2a", "3jzfcijpj2z2a".parse::<Tid>().unwrap());
        assert_eq!(serde_json::to_string(&tid).unwrap(), format!("\"{text}\""));
        let block = serde_ipld_dagcbor::to_vec(&tid).unwrap();
        assert_eq!(block, serde_ipld_dagcbor::to_vec(text).unwrap());
        assert_eq!(serde_ipld_dagcbor::from_slice::<Tid>(&block).unwrap(), tid);
        assert!(serde_json::from_str::<Tid>("\"3jzfcijpj2z2\"").is_err());
    }

    #[test]
    fn a_later_tid_stays_and_any_other_moves_on() {
        let at = |micros: u64, clock: u64| Tid(micros << CLOCK_BITS | clock);
        assert_eq!(at(5, 9).after(at(5, 3)), Some(at(5, 9)));
        assert_eq!(at(6, 0).after(at(5, 9)), Some(at(6, 0)));
        for previous in [at(5, 9), at(5, 10), at(8, 0)] {
            let next = at(5, 9).after(previous);
            assert_eq!(next, Some(at(previous.micros() + 1, 9)));
        }
        let last = u64::MAX >> CLOCK_BITS;
        assert_eq!(at(0, 7).after(at(last - 1, 9)), Some(at(last, 7)));
        assert_eq!(at(0, 7).after(at(last, 9)), None);
    }

    /// Vectors of `atproto-interop-tests`, `syntax/tid_syntax_*.txt`.
    #[test]
    fn published_tids_are_read_and_written_as_they_are() {
        for text in [
            "3jzfcijpj2z2a",
            "7777777777777",
            "3zzzzzzzzzzzz",
            "2222222222222",
            "j222222222222",
        ] {
            assert_eq!(text.parse::<Tid>().unwrap().to_string(), text);
        }
        for text in [
            "3jzfcijpj2z21",
            "0000000000000",
            "3JZFCIJPJ2Z2A",
            "3jzfcijpj2z2aa",
            "3jzfcijpj2z2",
            "222",
            "3jzf-cij-pj2z-2a",
            "zzzzzzzzzzzzz",
            "kjzfcijpj2z2a",
        ] {
            assert!(text.parse::<Tid>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_has_its_date() {
        // Counted from the first day on.
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..220_000 {
            assert_eq!(date(days), (year, month, day), "{days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day == last) {
                (_, false) => (year, month, day + 1),
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
            };
        }
        assert_eq!(Tid::new(0, 0).to_datetime(), "1970-01-01T00:00:00.000000Z");
        let last: Tid = "jzzzzzzzzzzzz".parse().unwrap();
        assert_eq!(last.to_datetime(), "2540-11-07T23:35:09.481983Z");
    }

    #[test]
    fn tids_sort_as_their_texts_do() {
        let tids =
            [0, 1, 31, 32, 1 << 20, 1 << 40, (1 << 53) - 1].map(|micros| Tid::new(micros, 5));
        assert!(tids.is_sorted());
        let texts = tids.map(|tid| tid.to_string());
        assert!(texts.is_sorted());
        assert_eq!(texts.map(|text| text.parse::<Tid>().unwrap()), tids);
    }

    #[test]
    fn the_next_tid_is_greater_even_if_the_clock_stands_still_or_goes_back() {
        let previous = Tid::new(1_000, 9);
        for micros in [0, 999, 1_000, 1_001] {
            for clock in [0, 9, 10, 1_023] {
                let next = Tid::new(micros, clock).after(previous).unwrap();
                assert!(next > previous && next.micros() <= 1_001);
            }
        }
        let last: Tid = "jzzzzzzzzzzzz".parse().unwrap();
        assert_eq!(Tid::now(9).after(last), None);
    }
}
