//! A file that is written atomically.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::redirected;

/// The new content for a path. An existing file there is unchanged until [`finish`](Self::finish)
/// replaces it in one step.
///
/// On Linux the new file has no name until then, if the file system supports that, so nothing is
/// left of it if the process is killed while it writes. Elsewhere, and on Linux for the moment in
/// which it replaces a file, it is beside the path, named `.cartool-` and the number of the
/// process.
///
/// Anything that is not a file, such as a pipe or a terminal, cannot be replaced and is written to.
pub(crate) struct NewFile {
    to: BufWriter<File>,
    place: Place,
    existing: Existing,
}

/// What to do with a file that is at the path by the time the new one is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Refuse,
}

enum Place {
    /// It has no name yet, and is on the same file system as the directory of the target.
    #[cfg(target_os = "linux")]
    Nameless { target: PathBuf },
    /// It has a temporary name beside the target.
    Beside {
        temporary: Temporary,
        target: PathBuf,
    },
    /// The target itself is being written to.
    Target,
}

impl NewFile {
    /// Starts the content for `path`, at which there must be no file, now and when it is finished:
    /// otherwise that is [`io::ErrorKind::AlreadyExists`].
    pub(crate) fn create_new(path: &Path) -> io::Result<Self> {
        if path.is_file() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let existing = Existing::Refuse;
        Ok(Self {
            existing,
            ..Self::create(path)?
        })
    }

    /// Starts the new content for `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let old = match fs::metadata(path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link stays a link, even if it is dangling.
                if path.is_symlink() {
                    return Err(io::Error::other("a symbolic link to nothing"));
                }
                None
            }
            Err(error) => return Err(error),
        };
        let mut target = path.to_owned();
        if let Some(old) = &old {
            // Without permission to write to a file, it may not be replaced either.
            let opened = File::options().write(true).open(path)?;
            if !old.is_file() {
                let place = Place::Target;
                return Ok(Self::new(opened, place));
            }
            // A link stays a link.
            target = fs::canonicalize(path)?;
        }
        let (file, place) = create_near(target)?;
        if let Some(old) = old {
            file.set_permissions(kept_permissions(&file, &old))?;
        }
        Ok(Self::new(file, place))
    }

    /// Flushes all that was written so far to disk, so that hardly anything can make
    /// [`finish`](Self::finish) fail.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.to.flush()?;
        match self.place {
            Place::Target => Ok(()),
            _ => self.to.get_ref().sync_all(),
        }
    }

    /// Puts the file in its place, once all of it is on disk.
    pub(crate) fn finish(self) -> io::Result<()> {
        let file = self
            .to
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        match self.place {
            #[cfg(target_os = "linux")]
            Place::Nameless { target } => {
                file.sync_all()?;
                match nameless::link(&file, &target) {
                    Err(error)
                        if error.kind() == io::ErrorKind::AlreadyExists
                            && self.existing == Existing::Replace =>
                    {
                        let link = |name: &Path| nameless::link(&file, name);
                        Temporary::name(&target, link)?.replace(&target)
                    }
                    linked => linked.map(|()| sync_folder_of(&target)),
                }
            }
            Place::Beside { temporary, target } => {
                file.sync_all()?;
                drop(file);
                match self.existing {
                    Existing::Replace => temporary.replace(&target),
                    Existing::Refuse => temporary.become_new(&target),
                }
            }
            Place::Target => Ok(()),
        }
    }

    fn new(file: File, place: Place) -> Self {
        const BUFFER_LEN: usize = 256 << 10;
        let to = BufWriter::with_capacity(BUFFER_LEN, file);
        let existing = Existing::Replace;
        Self {
            to,
            place,
            existing,
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Gives `file` the owner and the group of the one that it replaces, if permitted, and returns the
/// permissions for it: without those of the group if the group is another.
fn kept_permissions(file: &File, old: &fs::Metadata) -> fs::Permissions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        // Changing the owner takes a privilege that changing the group may not take.
        let group = fchown(file, None, Some(old.gid()));
        let _ = fchown(file, Some(old.uid()), None);
        if group.is_err() {
            return fs::Permissions::from_mode(old.mode() & !0o070);
        }
    }
    let _ = file;
    old.permissions()
}

/// Refuses to write `output` over `kept`, which is `what`, and is read, perhaps from standard
/// input.
pub(crate) fn check_kept(output: &Path, kept: &Path, what: &str) -> Result<(), Failure> {
    let standard = Path::new("-");
    let is_same = if kept == standard {
        redirected::standard_input_is(output)
    } else {
        is_same_file(output, kept)
    };
    if is_same && output != standard {
        let why = format!("the output would replace {what}");
        return Err(Failure::Usage(why));
    }
    Ok(())
}

/// Whether both paths lead to the same file, or to where it is to be created.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || canonical(one).is_some_and(|one| Some(one) == canonical(other))
}

/// The canonical path of a file, or of where it is to be created.
fn canonical(path: &Path) -> Option<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = fs::canonicalize(folder_of(path)).ok()?;
            Some(folder.join(path.file_name()?))
        }
        found => found.ok(),
    }
}

/// Creates a file in the directory of `target`.
fn create_near(target: PathBuf) -> io::Result<(File, Place)> {
    #[cfg(target_os = "linux")]
    if let Some(file) = nameless::create(folder_of(&target)) {
        return Ok((file, Place::Nameless { target }));
    }
    let mut file = None;
    let temporary = Temporary::name(&target, |name| {
        file = Some(File::options().write(true).create_new(true).open(name)?);
        Ok(())
    })?;
    let file = file.ok_or(io::ErrorKind::NotFound)?;
    Ok((file, Place::Beside { temporary, target }))
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The name of a file that is not in its place yet; dropping this deletes the file. `None` once it
/// is in its place.
struct Temporary(Option<PathBuf>);

impl Temporary {
    /// Gives a file an unused name beside `target`.
    fn name(target: &Path, give: impl FnMut(&Path) -> io::Result<()>) -> io::Result<Self> {
        const ATTEMPTS: u32 = 1_000;
        let mut give = give;
        for attempt in 0..ATTEMPTS {
            let name = format!(".cartool-{}-{attempt}.tmp", std::process::id());
            let path = folder_of(target).join(name);
            match give(&path) {
                Ok(()) => return Ok(Self(Some(path))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Gives the file the name `target`, which must not be taken.
    fn become_new(self, target: &Path) -> io::Result<()> {
        let Some(name) = &self.0 else {
            return Ok(());
        };
        match fs::hard_link(name, target) {
            Ok(()) => {
                sync_folder_of(target);
                Ok(())
            }
            // The file system has no second names for a file, so this cannot be done in one step.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !target.is_file() => {
                self.replace(target)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the file the name `target`, in place of what is there.
    fn replace(mut self, target: &Path) -> io::Result<()> {
        let Some(name) = &self.0 else {
            return Ok(());
        };
        fs::rename(name, target)?;
        // From now on another process may have a file of this name.
        self.0 = None;
        sync_folder_of(target);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.0 {
            let _ = fs::remove_file(name);
        }
    }
}

/// Flushes the name of a file that is in its place to disk.
pub(crate) fn sync_folder_of(file: &Path) {
    // Not every system lets a directory be opened, and the file is already there.
    if let Ok(folder) = File::open(folder_of(file)) {
        let _ = folder.sync_all();
    }
}

#[cfg(target_os = "linux")]
mod nameless {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, OFlags, linkat};

    /// Creates a file without a name in `folder`, if the file system supports it and there is a way
    /// to name it later.
    pub(super) fn create(folder: &Path) -> Option<File> {
        let flags = i32::try_from(OFlags::TMPFILE.bits()).ok()?;
        let file = File::options()
            .write(true)
            .custom_flags(flags)
            .open(folder)
            .ok()?;
        path_of(&file).exists().then_some(file)
    }

    /// Gives a file its name.
    pub(super) fn link(file: &File, name: &Path) -> io::Result<()> {
        let follow = AtFlags::SYMLINK_FOLLOW;
        Ok(linkat(CWD, path_of(file), CWD, name, follow)?)
    }

    /// Where the system lists this open file of the process.
    fn path_of(file: &File) -> std::path::PathBuf {
        Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own that is deleted in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("cartool-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Writes the file under a temporary name, as on systems without files that have no name.
    fn beside(target: &Path) -> NewFile {
        let mut file = None;
        let temporary = Temporary::name(target, |name| {
            file = Some(File::options().write(true).create_new(true).open(name)?);
            Ok(())
        });
        let target = target.to_owned();
        let place = Place::Beside {
            temporary: temporary.unwrap(),
            target,
        };
        NewFile::new(file.unwrap(), place)
    }

    #[test]
    fn nothing_changes_before_the_end() {
        let folder = Folder::new("before-the-end");
        let target = folder.0.join("file");
        for create in [|path: &Path| NewFile::create(path).unwrap(), beside] {
            fs::write(&target, "old").unwrap();
            let mut new = create(&target);
            new.write_all(&vec![b'x'; 1 << 20]).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"old");
            drop(new);
            assert_eq!(fs::read(&target).unwrap(), b"old");
            assert_eq!(folder.names(), ["file"]);

            let mut new = create(&target);
            new.write_all(b"new").unwrap();
            new.finish().unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"new");
            assert_eq!(folder.names(), ["file"]);
        }
    }

    #[test]
    fn a_name_that_is_taken_is_passed_over() {
        let folder = Folder::new("taken");
        let target = folder.0.join("file");
        let taken = format!(".cartool-{}-0.tmp", std::process::id());
        fs::write(folder.0.join(&taken), "another's").unwrap();
        for create in [|path: &Path| NewFile::create(path).unwrap(), beside] {
            create(&target).finish().unwrap();
            assert_eq!(folder.names(), [&*taken, "file"]);
        }
        assert_eq!(fs::read(folder.0.join(&taken)).unwrap(), b"another's");
    }

    #[test]
    fn a_file_that_appears_in_the_meantime_is_replaced_unless_that_was_refused() {
        let folder = Folder::new("appears");
        let target = folder.0.join("file");
        let refusing = |path: &Path| {
            let mut new = beside(path);
            new.existing = Existing::Refuse;
            new
        };
        let create = |path: &Path| NewFile::create(path).unwrap();
        let create_new = |path: &Path| NewFile::create_new(path).unwrap();
        for (start, replaces) in [
            (&create as &dyn Fn(&Path) -> NewFile, true),
            (&beside, true),
            (&create_new, false),
            (&refusing, false),
        ] {
            for appears in [false, true] {
                let mut new = start(&target);
                new.write_all(b"ours").unwrap();
                if appears {
                    fs::write(&target, "theirs").unwrap();
                }
                let finished = new.finish().map_err(|error| error.kind());
                let (wanted, left) = if appears && !replaces {
                    (Err(io::ErrorKind::AlreadyExists), "theirs")
                } else {
                    (Ok(()), "ours")
                };
                assert_eq!(finished, wanted);
                assert_eq!(fs::read_to_string(&target).unwrap(), left);
                assert_eq!(folder.names(), ["file"]);
                fs::remove_file(&target).unwrap();
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = Folder::new("links");
        let (target, link) = (folder.0.join("file"), folder.0.join("link"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();

        let mut new = NewFile::create(&link).unwrap();
        new.write_all(b"new").unwrap();
        new.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}
