//! A group of users that may use the daemon.

use super::ConfigError;
use nix::unistd::{Gid, Group};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// A group of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroup {
    /// Its name, or its number where it has none.
    pub name: String,
    /// Its number.
    pub gid: u32,
}

impl UserGroup {
    /// Finds a group by its name, or by its number, which needs no name (containers often have none). Asks the
    /// system's database of groups, which may block.
    pub(super) fn find(text: &str) -> Result<Self, ConfigError> {
        if let Ok(gid) = text.parse() {
            let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
            return Ok(Self { name: group.map_or(text.to_owned(), |group| group.name), gid });
        }
        match Group::from_name(text) {
            Ok(Some(group)) => Ok(Self { name: group.name, gid: group.gid.as_raw() }),
            _ => Err(ConfigError::Group(text.to_owned())),
        }
    }

    /// Returns the group whose members may write to a file, if they may. May block as the search by name does.
    pub fn of_file(file: &Metadata) -> Option<Self> {
        let group = Self::find(&file.gid().to_string()).ok()?;
        (file.mode() & 0o020 != 0).then_some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_group_is_found_by_name_by_number_and_by_what_is_open_to_it() {
        assert_eq!(UserGroup::find("root").unwrap(), UserGroup { name: "root".to_owned(), gid: 0 });
        assert_eq!(UserGroup::find("0").unwrap(), UserGroup::find("root").unwrap());
        let nameless = UserGroup::find("4123456789").unwrap();
        assert_eq!((nameless.name.as_str(), nameless.gid), ("4123456789", 4_123_456_789));
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, expected) in [(0o660, Some(nix::unistd::getegid().as_raw())), (0o640, None)] {
            std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            let found = UserGroup::of_file(&std::fs::metadata(file.path()).unwrap());
            assert_eq!(found.map(|group| group.gid), expected, "{mode:o}");
        }
        let error = UserGroup::find("no such group").unwrap_err().to_string();
        assert_eq!(error, "COMFYD_GROUP is `no such group`, and there is no such group");
    }
}
