//! Work that is done as a whole or not at all.

use blockstore_core::StoreError;

use crate::SqliteError;
use crate::database::{Begun, Database};

/// Whatever is done while this lives is rolled back when it is dropped, after an error or a panic,
/// unless [`commit`](Self::commit) was called.
#[derive(Debug)]
pub(crate) struct Scope<'d> {
    database: &'d Database,
    kind: Kind,
    committed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is a transaction of its own.
    Transaction,
    /// It is part of one of our transactions. To roll back this part alone, SQLite would have to
    /// copy each page before changing it, which takes as long as the change; so the whole
    /// transaction is rolled back, at its end: until then, what the caller does on the connection
    /// has to be part of it.
    Part,
    /// It is part of a transaction of the caller's, who may want to keep the rest.
    Savepoint,
    /// It only reads, in whatever transaction there is.
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
        // Takes the write lock from the start, so that nobody else can write between what is read
        // here and what is written.
        database.execute("BEGIN IMMEDIATE", [])?;
        database.begun.set(Begun::Writing);
        Ok(Self::new(database, Kind::Transaction))
    }

    /// Begins a change, as part of the transaction if there is one.
    ///
    /// # Errors
    ///
    /// [`SqliteError::WriteInSnapshot`] inside a transaction for reading.
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
            // `Undoing` was settled above.
            Begun::Failed | Begun::Undoing => Err(SqliteError::TransactionEnded.into()),
        }
    }

    /// Begins to read from a snapshot.
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

    /// Commits what was done.
    ///
    /// # Errors
    ///
    /// What SQLite reports; [`SqliteError::TransactionEnded`] if it was rolled back before.
    pub(crate) fn commit(mut self) -> Result<(), StoreError> {
        match self.kind {
            Kind::Transaction => self.database.execute("COMMIT", [])?,
            Kind::Savepoint => self.database.execute("RELEASE blockstore", [])?,
            Kind::Part | Kind::Reading => {}
        }
        self.committed = true;
        Ok(())
    }

    /// Rolls back. If SQLite has done so itself, this fails for that reason only: an error here
    /// would add nothing to the one before it.
    fn undo(&self) {
        let sql = match self.kind {
            Kind::Transaction => "ROLLBACK",
            Kind::Part => return self.database.begun.set(Begun::Failed),
            // If the first fails, the second is not run.
            Kind::Savepoint => "ROLLBACK TO blockstore; RELEASE blockstore",
            Kind::Reading => return,
        };
        self.database.connection.execute_batch(sql).ok();
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.undo();
        }
        if self.kind == Kind::Transaction {
            // The rollback may have failed, for example because the connection was interrupted.
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
