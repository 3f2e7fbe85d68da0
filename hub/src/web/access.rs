//! Who may call what. Whose data they see is decided by their scope.

use crate::accounts::{Actor, Role, Scope};
use crate::error::Problem;
use crate::web::session::Caller;

impl Caller {
    /// For admin and hr alone.
    pub fn staff(&self) -> Result<&Actor, Problem> {
        self.0.role.is_staff().then_some(&self.0).ok_or(Problem::ForStaff)
    }

    /// For admin alone.
    pub fn admin(&self) -> Result<&Actor, Problem> {
        (self.0.role == Role::Admin).then_some(&self.0).ok_or(Problem::ForAdmin)
    }

    /// Whose data they may see.
    pub fn scope(&self) -> Scope {
        self.0.scope()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_those_below_it_may() {
        let caller = |role| Caller(Actor { name: "somebody".into(), role, person: None });
        let allowed = |role| (caller(role).staff().is_ok(), caller(role).admin().is_ok());
        assert_eq!(allowed(Role::Admin), (true, true));
        assert_eq!(allowed(Role::Hr), (true, false));
        assert_eq!(allowed(Role::Manager), (false, false));
        assert_eq!(allowed(Role::Employee), (false, false));
    }
}
