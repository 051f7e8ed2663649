//! A database that threads use in turn, and that the thread using it can re-enter.

use std::cell::RefCell;
use std::ptr;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::database::Database;

thread_local! {
    /// The databases that this thread holds, each with the address of its [`Shared`].
    static HELD: RefCell<Vec<(usize, Rc<Database>)>> = const { RefCell::new(Vec::new()) };
}

/// A [`Database`] shared between threads.
///
/// Work that calls back into the caller's code must [`hold`](Self::hold) it: the caller may use the
/// store again from inside, which must not deadlock.
#[derive(Debug)]
pub(crate) struct Shared {
    /// `None` while a thread holds the database, together with the lock.
    database: Mutex<Option<Database>>,
}

impl Shared {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database: Mutex::new(Some(database)),
        }
    }

    /// Runs `work` once it is this thread's turn.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> T) -> T {
        if let Some(database) = self.held() {
            return work(&database);
        }
        let database = self.lock();
        work(
            database
                .as_ref()
                .expect("a database that is not held is in its slot"),
        )
    }

    /// Runs `work` once it is this thread's turn. Calls of `with` and `hold` from inside get the
    /// same database.
    pub(crate) fn hold<T>(&self, work: impl FnOnce(&Database) -> T) -> T {
        if let Some(database) = self.held() {
            return work(&database);
        }
        let _hold = Hold::new(self);
        let database = self.held().expect("this thread holds it now");
        work(&database)
    }

    pub(crate) fn into_inner(self) -> Database {
        let database = self.database.into_inner();
        let database = database.unwrap_or_else(PoisonError::into_inner);
        database.expect("nobody can hold a database that is owned")
    }

    fn held(&self) -> Option<Rc<Database>> {
        let address = self.address();
        HELD.with_borrow(|held| {
            let held = held.iter().find(|(at, _)| *at == address)?;
            Some(Rc::clone(&held.1))
        })
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    // After a panic the database is back in place, with no open transaction, so poisoning is
    // ignored.
    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While this lives, this thread owns the database, and the slot is empty and locked.
struct Hold<'s> {
    shared: &'s Shared,
    place: MutexGuard<'s, Option<Database>>,
}

impl<'s> Hold<'s> {
    fn new(shared: &'s Shared) -> Self {
        let mut place = shared.lock();
        let database = place
            .take()
            .expect("a database that is not held is in its slot");
        let held = (shared.address(), Rc::new(database));
        HELD.with_borrow_mut(|all| all.push(held));
        Self { shared, place }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let address = self.shared.address();
        let held = HELD.with_borrow_mut(|held| {
            let at = held.iter().rposition(|(at, _)| *at == address)?;
            Some(held.remove(at).1)
        });
        // All re-entrant calls have returned and dropped their references.
        *self.place = held.and_then(Rc::into_inner);
    }
}
