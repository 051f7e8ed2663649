//! A stretch of work that happens whole or not at all.

use blockstore_core::StoreError;

use crate::SqliteError;
use crate::database::{Begun, Database};

/// What is done while this lives is undone when it goes, unless [`commit`](Self::commit)
/// takes it: on an error and on a panic alike.
#[derive(Debug)]
pub(crate) struct Scope<'d> {
    database: &'d Database,
    kind: Kind,
    committed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is a transaction.
    Transaction,
    /// It is a part of a transaction of ours. To undo it alone, SQLite would have to copy each
    /// page before it is changed, which takes as long as the change; so the transaction is
    /// undone with it.
    Part,
    /// It is a part of a transaction of the caller's, who may want the rest.
    Savepoint,
    /// It changes nothing, in whatever transaction there is.
    Reading,
}

impl<'d> Scope<'d> {
    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// [`SqliteError::NestedTransaction`] inside another one.
    pub(crate) fn transaction(database: &'d Database) -> Result<Self, StoreError> {
        database.settle()?;
        if !database.connection.is_autocommit() {
            return Err(SqliteError::NestedTransaction.into());
        }
        // With the lock for writing from the start, so that nobody else can write between
        // what is read here and what is written.
        database.execute("BEGIN IMMEDIATE", [])?;
        database.begun.set(Begun::Writing);
        Ok(Self::new(database, Kind::Transaction))
    }

    /// Begins to change something, as a part of the transaction if there is one.
    ///
    /// # Errors
    ///
    /// [`SqliteError::WriteInSnapshot`] inside one for reading.
    pub(crate) fn write(database: &'d Database) -> Result<Self, StoreError> {
        database.settle()?;
        match database.begun.get() {
            Begun::Nothing if database.connection.is_autocommit() => Self::transaction(database),
            Begun::Nothing => {
                database.execute("SAVEPOINT blockstore", [])?;
                Ok(Self::new(database, Kind::Savepoint))
            }
            Begun::Reading => Err(SqliteError::WriteInSnapshot.into()),
            Begun::Writing => Ok(Self::new(database, Kind::Part)),
            // That it is to be undone still was settled.
            Begun::Failed | Begun::Undoing => Err(SqliteError::TransactionEnded.into()),
        }
    }

    /// Begins to read what must be of one moment.
    pub(crate) fn read(database: &'d Database) -> Result<Self, StoreError> {
        database.settle()?;
        if !database.connection.is_autocommit() {
            return Ok(Self::new(database, Kind::Reading));
        }
        database.execute("BEGIN", [])?;
        database.begun.set(Begun::Reading);
        Ok(Self::new(database, Kind::Transaction))
    }

    fn new(database: &'d Database, kind: Kind) -> Self {
        Self {
            database,
            kind,
            committed: false,
        }
    }

    /// Makes what was done last.
    ///
    /// # Errors
    ///
    /// What SQLite reports; [`SqliteError::TransactionEnded`] if it was undone before.
    pub(crate) fn commit(mut self) -> Result<(), StoreError> {
        match self.kind {
            Kind::Transaction => self.database.execute("COMMIT", [])?,
            Kind::Savepoint => self.database.execute("RELEASE blockstore", [])?,
            Kind::Part | Kind::Reading => {}
        }
        self.committed = true;
        Ok(())
    }

    /// Undoes what was done. SQLite may have done that itself, and has nothing to report but
    /// that: an error here would say nothing that the one before it did not.
    fn undo(&self) {
        let sql = match self.kind {
            Kind::Transaction | Kind::Part => "ROLLBACK",
            // The second is not done if the first fails.
            Kind::Savepoint => "ROLLBACK TO blockstore; RELEASE blockstore",
            Kind::Reading => return,
        };
        self.database.connection.execute_batch(sql).ok();
        if self.kind == Kind::Part && !self.database.connection.is_autocommit() {
            self.database.begun.set(Begun::Failed);
        }
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.undo();
        }
        if self.kind == Kind::Transaction {
            // Undoing it may have failed, as when the connection was interrupted.
            let ended = self.database.connection.is_autocommit();
            let begun = if ended {
                Begun::Nothing
            } else {
                Begun::Undoing
            };
            self.database.begun.set(begun);
        }
    }
}
