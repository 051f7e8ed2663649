//! A file that is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What is to become the file at a path. What was there stays as it is until
/// [`finish`](Self::finish) puts this in its place, in one step.
///
/// On Linux it has no name until then, where the file system can do that, so that nothing is
/// left of it even if the process is killed. Elsewhere a file of this name lies beside the
/// path meanwhile: `.cartool-` and the number of the process.
///
/// What is no file, such as a pipe or a terminal, cannot be replaced and is written to.
pub(crate) struct NewFile {
    to: BufWriter<File>,
    place: Place,
}

enum Place {
    /// Nowhere yet, of which file system there is the folder.
    #[cfg(target_os = "linux")]
    Nameless { target: PathBuf },
    /// Under a name of its own, beside the target.
    Beside {
        temporary: Temporary,
        target: PathBuf,
    },
    /// What it is written to is the target.
    Target,
}

impl NewFile {
    /// Begins what is to become the file at `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let old = match fs::metadata(path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link stays one, also if it leads nowhere.
                if path.is_symlink() {
                    return Err(io::Error::other("a link that leads to nothing"));
                }
                None
            }
            Err(error) => return Err(error),
        };
        let mut target = path.to_owned();
        if let Some(old) = &old {
            // Who may not write to a file may not replace it either.
            let opened = File::options().write(true).open(path)?;
            if !old.is_file() {
                let place = Place::Target;
                return Ok(Self::new(opened, place));
            }
            // A link stays one.
            target = fs::canonicalize(path)?;
        }
        let (file, place) = create_near(target)?;
        if let Some(old) = old {
            file.set_permissions(kept_permissions(&file, &old))?;
        }
        Ok(Self::new(file, place))
    }

    /// Sees to it that the disk has all that was written so far, so that hardly anything can keep
    /// [`finish`](Self::finish) from putting it in its place.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.to.flush()?;
        match self.place {
            Place::Target => Ok(()),
            _ => self.to.get_ref().sync_all(),
        }
    }

    /// Puts the file where it belongs, once the disk has all of it.
    pub(crate) fn finish(self) -> io::Result<()> {
        let file = self
            .to
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        match self.place {
            #[cfg(target_os = "linux")]
            Place::Nameless { target } => {
                file.sync_all()?;
                let temporary = Temporary::name(&target, |name| nameless::link(&file, name))?;
                temporary.become_file(&target)
            }
            Place::Beside { temporary, target } => {
                file.sync_all()?;
                drop(file);
                temporary.become_file(&target)
            }
            Place::Target => Ok(()),
        }
    }

    fn new(file: File, place: Place) -> Self {
        const BUFFER_LEN: usize = 256 << 10;
        let to = BufWriter::with_capacity(BUFFER_LEN, file);
        Self { to, place }
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

/// Gives `file` the owner and the group of the one that it replaces, where one may, and returns the
/// permissions for it: where the group is another, not those of the group.
fn kept_permissions(file: &File, old: &fs::Metadata) -> fs::Permissions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        // The owner takes a privilege that the group may not take.
        let group = fchown(file, None, Some(old.gid()));
        let _ = fchown(file, Some(old.uid()), None);
        if group.is_err() {
            return fs::Permissions::from_mode(old.mode() & !0o070);
        }
    }
    let _ = file;
    old.permissions()
}

/// Refuses to write `output` in the place of `kept`, which is `what`.
pub(crate) fn check_kept(output: &Path, kept: &Path, what: &str) -> Result<(), Failure> {
    if output != Path::new("-") && is_same_file(output, kept) {
        let why = format!("the output would take the place of {what}");
        return Err(Failure::Usage(why));
    }
    Ok(())
}

/// Whether both paths lead to one file, or to where one is to be.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || canonical(one).is_some_and(|one| Some(one) == canonical(other))
}

/// The one path, of many, to a file, or to where one is to be.
fn canonical(path: &Path) -> Option<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = fs::canonicalize(folder_of(path)).ok()?;
            Some(folder.join(path.file_name()?))
        }
        found => found.ok(),
    }
}

/// Creates a file in the folder of `target`.
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

/// The name of a file that is not yet what it is to be; when this is dropped the file goes. `None` once
/// it has become that.
struct Temporary(Option<PathBuf>);

impl Temporary {
    /// Gives a file a name beside `target` that no file has.
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

    fn become_file(mut self, target: &Path) -> io::Result<()> {
        let Some(name) = &self.0 else {
            return Ok(());
        };
        fs::rename(name, target)?;
        // Another may have a file of this name from now on.
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

/// Sees to it that the disk has the name of a file that is in its place.
pub(crate) fn sync_folder_of(file: &Path) {
    // Not every system lets a folder be opened, and the file is there.
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

    /// Creates a file without a name in `folder`, if the file system can and there is a way
    /// to give it a name later.
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

    /// Where the system lists the file among those that this process has open.
    fn path_of(file: &File) -> std::path::PathBuf {
        Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that is gone in the end.
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

    /// The file under a name of its own, as on systems that know no other way.
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
