//! The permissions of what a pool makes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use ringpool::{
    BufferPool, Error, OpenOptions,
    options::{DoubleWriteArea, TornPages},
};

use crate::support::guarded;

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_a_pool_makes_is_its_owners_unless_told_otherwise() {
    guarded(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let area = TornPages::DoubleWrite(DoubleWriteArea::new(path("area")).bytes(1 << 20));
        let pool = BufferPool::builder().frames(16).torn_pages(area).build().unwrap();
        let create = OpenOptions::new().create(true);
        // The umask of the test may take the group's and the others'.
        fs::write(path("plain"), []).unwrap();
        let umask = 0o666 & !mode_of(&path("plain"));
        pool.open_file(path("private"), create.tag(1)).unwrap();
        pool.open_file(path("shared"), create.tag(2).mode(0o664)).unwrap();
        fs::set_permissions(path("plain"), PermissionsExt::from_mode(0o644)).unwrap();
        pool.open_file(path("plain"), create.tag(3)).unwrap();
        assert_eq!(["area", "private"].map(|name| mode_of(&path(name))), [0o600; 2]);
        assert_eq!(mode_of(&path("shared")), 0o664 & !umask);
        assert_eq!(mode_of(&path("plain")), 0o644, "it was there before");
        for mode in [0, 0o400, 0o066, 0o1600, u32::MAX] {
            let error = pool.open_file(path("odd"), create.tag(4).mode(mode)).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, Error::Config(_)) && told.contains("with 0o600 for the owner"), "{told}");
            assert!(!path("odd").exists());
        }
    });
}
