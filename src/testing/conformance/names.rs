//! Files that are missing, made, opened twice and removed.

use std::{io, path::Path};

use super::{
    checker::{CheckStep, Checker, Kept},
    promise::StoragePromise::{
        CreatedIsEmpty, FailsNever, IdentityIsOfTheFile, MissingIsNotFound, RemovedIsGone,
    },
    tested_file::TestedFile,
};
use crate::{OpenOptions, sync::Arc};

pub(super) fn check(checker: &Arc<Checker>) -> Kept {
    let (number, path) = checker.new_path();
    let create = OpenOptions::new().create(true);
    let step = checker.step(MissingIsNotFound, format!("opening {} before it is created", path.display()));
    not_found(&step, checker, &path)?;

    let step = checker.step(CreatedIsEmpty, format!("creating {}", path.display()));
    let file = TestedFile::open(checker, number, &path, &create)?;
    let (told, len) = (file.opened.len, step.done(file.calls().len())?);
    step.ensure((told, len) == (0, 0), || {
        format!("a length of {told} bytes when it was opened, and of {len} then")
    })?;
    let read = file.read(&step, 0, 1)?;
    step.ensure(read == 0, || format!("{read} bytes in an empty file"))?;
    let file = step.own(file.reopen())?;
    step.ensure(file.opened.len == 0, || format!("{} bytes at the second opening", file.opened.len))?;

    file.write(&step, 0, &[1])?;
    file.sync(&step)?;
    let file = identities(checker, file)?;
    removal(checker, file)
}

fn not_found(step: &CheckStep, checker: &Arc<Checker>, path: &Path) -> Kept {
    match checker.open(step, path, &OpenOptions::new())? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(step.broken(format!("another error: {error} ({:?})", error.kind()))),
        Ok(_) => Err(step.broken("a file")),
    }
}

fn identities(checker: &Arc<Checker>, file: TestedFile) -> Kept<TestedFile> {
    let step = checker.step(IdentityIsOfTheFile, format!("opening {} again", file.path.display()));
    let identity = file.opened.identity;
    let alike = |found| step.ensure(found == identity, || format!("{identity:?} first, and {found:?} then"));
    // As a pool that is asked to open a file twice. Not in use, but for the first opening: so it is not waited for.
    let second = checker.storage().open(&file.path, &OpenOptions::new(), checker.settings.page_size);
    alike(step.done(second)?.identity)?;
    let file = file.reopen()?;
    alike(file.opened.identity)?;
    TestedFile::create(checker)?;
    Ok(file)
}

fn removal(checker: &Arc<Checker>, file: TestedFile) -> Kept {
    let Some(name) = file.opened.name.clone() else {
        checker.skip(RemovedIsGone, "the files have no names");
        return Ok(());
    };
    let step = checker.step(RemovedIsGone, format!("removing {}", name.display()));
    let storage = checker.storage();
    let may = step.done(storage.may_remove(&name, file.opened.identity))?;
    step.ensure(may, || "that it may not be removed".to_owned())?;
    match storage.remove(&name) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            checker.skip(RemovedIsGone, "the storage removes no files");
            return Ok(());
        }
        removed => step.done(removed)?,
    }
    step.done(storage.sync_folder(&name))?;
    checker.forget_identities(Some(&file.path));
    not_found(&step, checker, &file.path)?;
    // The pool asks it for nothing more.
    match file.expect(&step, 0, &[1]) {
        Err(broken) if broken.promise == FailsNever => {}
        read => read?,
    }
    others_while_it_is_open(checker, &file, &name)?;
    drop(file);
    not_found(&step, checker, &name)
}

/// Creates files, one at the same path, while the one that was removed is open: it is none of them.
fn others_while_it_is_open(checker: &Arc<Checker>, file: &TestedFile, name: &Path) -> Kept {
    let create = OpenOptions::new().create(true);
    for path in [&checker.new_path().1, &file.path] {
        let asked =
            format!("creating {}, while {} is removed and still open", path.display(), name.display());
        let step = checker.step(IdentityIsOfTheFile, asked);
        let other = TestedFile::open(checker, checker.new_path().0, path, &create)?;
        let (found, taken) = (other.opened.identity, file.opened.identity);
        step.ensure(found != taken, || format!("{found:?}, as of the removed one"))?;
        other.opened.disk.unlock();
    }
    let step = checker.step(RemovedIsGone, format!("removing {} again", name.display()));
    checker.forget_identities(Some(&file.path));
    step.done(checker.storage().remove(name))
}
