//! The command line: `--name value` pairs after the mode.

use std::collections::BTreeMap;

use crate::Result;

/// The options given, each at most once.
#[derive(Debug)]
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads the options, of which only those in `known` are allowed.
    ///
    /// # Errors
    ///
    /// An option that is unknown, given twice, or without a value.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>, known: &[&str]) -> Result<Self> {
        let mut options = BTreeMap::new();
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            if !known.contains(&name.as_str()) {
                return Err(
                    format!("unknown option {name}; known are {}", known.join(", ")).into(),
                );
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            if options.insert(name.clone(), value).is_some() {
                return Err(format!("{name} is given twice").into());
            }
        }
        Ok(Self(options))
    }

    /// Returns the value of an option that may be left out.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the value of a required option.
    pub(crate) fn require(&self, name: &str) -> Result<&str> {
        self.get(name)
            .ok_or_else(|| format!("{name} is missing").into())
    }

    /// Returns the number given by `--reps`, or `default`.
    pub(crate) fn reps(&self, default: usize) -> Result<usize> {
        match self.get("--reps").map(str::parse) {
            None => Ok(default),
            Some(Ok(reps)) if reps > 0 => Ok(reps),
            Some(_) => Err("--reps needs a number above 0".into()),
        }
    }

    /// Returns those of `all` whose names are in the option's list, separated by commas; all of
    /// them without the option.
    ///
    /// # Errors
    ///
    /// A name in the list that none of them has.
    pub(crate) fn select<T>(
        &self,
        name: &str,
        all: &'static [T],
        name_of: fn(&T) -> &str,
    ) -> Result<Vec<&'static T>> {
        let Some(list) = self.get(name) else {
            return Ok(all.iter().collect());
        };
        let wanted: Vec<&str> = list.split(',').collect();
        for wanted in &wanted {
            if !all.iter().any(|item| name_of(item) == *wanted) {
                let known: Vec<&str> = all.iter().map(name_of).collect();
                return Err(format!("no {wanted}; there are {}", known.join(", ")).into());
            }
        }
        Ok(all
            .iter()
            .filter(|item| wanted.contains(&name_of(item)))
            .collect())
    }
}
