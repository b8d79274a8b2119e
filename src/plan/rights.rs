//! The rights of a session's role, as statements ask for them.

use super::Context;
use crate::error::{Error, Kind, Result};
use crate::rights::{PredefinedRole, Right, level};

/// The rights of a session's role.
#[derive(Debug, Clone)]
pub struct Rights {
    level: Right,
    user: String,
}

impl Rights {
    /// Looks them up.
    pub fn of(cx: &Context<'_>) -> Rights {
        Rights { level: level(cx.snapshot, &cx.session.user), user: cx.session.user.clone() }
    }
    /// The level.
    pub fn level(&self) -> Right {
        self.level
    }
    /// Needs `standpipe_read`.
    pub fn read(&self) -> Result<()> {
        self.at_least(Right::Read, PredefinedRole::Read)
    }
    /// Needs `standpipe_manage`.
    pub fn manage(&self) -> Result<()> {
        self.at_least(Right::Manage, PredefinedRole::Manage)
    }
    /// Needs `standpipe_admin`.
    pub fn admin(&self) -> Result<()> {
        self.at_least(Right::Admin, PredefinedRole::Admin)
    }
    fn at_least(&self, right: Right, role: PredefinedRole) -> Result<()> {
        if self.level >= right {
            return Ok(());
        }
        let name = role.name();
        let e = Error::new(Kind::NoRight, format!("permission denied: role \"{}\" is not a member of {name}", self.user));
        Err(e.with_hint(format!("An admin can run: GRANT {name} TO \"{}\".", self.user)))
    }
}
