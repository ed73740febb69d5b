use tempfile::TempDir;

use super::*;

async fn fixture() -> (TempDir, Sqlite) {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("deep/in/a/folder/ledger.db")).await.unwrap();
    (folder, store)
}

crate::store::conformance::suite!(super::fixture);
