//! Evaluates `localgroup:GROUP`: it matches if the principal's local user, by krb5.conf's
//! `auth_to_local`, is in a group of the system.
//!
//! GSS-API's own gss_localname(3) does not tell a principal that no rule maps from a rule that
//! cannot be read, and under `deny:` the difference decides: so libkrb5 is asked, as remctld does.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use nix::unistd::{Group, User};

use crate::acl::syntax::shown;
use invirtibuilder_core::names::Principal;

/// The codes with which krb5_aname_to_localname(3) answers for a principal that no rule maps:
/// `KRB5_NO_LOCALNAME` and `KRB5_LNAME_NOTRANS` of krb5.h.
const NO_LOCAL_NAME: [i32; 2] = [-1765328227, -1765328208];

/// The longest local name, in bytes.
const MAX_NAME: usize = 1024;

/// Tells whether the principal's local user has the group as its primary one or is named in it. A
/// group, a user or a mapping that does not exist is no member; what cannot be looked up is an
/// error.
pub fn holds(group: &[u8], who: &Principal) -> Result<bool, String> {
    let fail = |what: &str, why: &dyn std::fmt::Display| {
        format!("localgroup {}: {what}: {why}", shown(group))
    };
    // A name that is not UTF-8 is that of no group.
    let Ok(name) = std::str::from_utf8(group) else { return Ok(false) };
    let Some(entry) =
        Group::from_name(name).map_err(|errno| fail("the group cannot be looked up", &errno))?
    else {
        return Ok(false);
    };
    let Some(user) = local_name(who).map_err(|why| fail("auth_to_local fails", &why))? else {
        return Ok(false);
    };
    let found =
        User::from_name(&user).map_err(|errno| fail("the user cannot be looked up", &errno))?;
    Ok(found.is_some_and(|found| found.gid == entry.gid || entry.mem.contains(&user)))
}

/// Tells whether there is a group of this name.
pub fn exists(group: &[u8]) -> bool {
    std::str::from_utf8(group)
        .is_ok_and(|name| Group::from_name(name).is_ok_and(|group| group.is_some()))
}

// The part of libkrb5 that is needed, from krb5.h.
#[link(name = "krb5")]
#[allow(unsafe_code)]
unsafe extern "C" {
    fn krb5_init_context(context: *mut *mut c_void) -> i32;
    fn krb5_free_context(context: *mut c_void);
    fn krb5_parse_name(
        context: *mut c_void,
        name: *const c_char,
        principal: *mut *mut c_void,
    ) -> i32;
    fn krb5_free_principal(context: *mut c_void, principal: *mut c_void);
    fn krb5_aname_to_localname(
        context: *mut c_void,
        name: *const c_void,
        size: c_int,
        local: *mut c_char,
    ) -> i32;
}

/// Finds the local user that krb5.conf maps a principal to, if any.
fn local_name(who: &Principal) -> Result<Option<String>, String> {
    let name = CString::new(who.as_str()).map_err(|error| error.to_string())?;
    let mut local = [0u8; MAX_NAME];
    // SAFETY: each call gets what the one before filled in and returned 0 for; context and
    // principal are freed once, after their last use. The name ends in NUL; libkrb5 writes at most
    // MAX_NAME bytes, NUL included, to `local`.
    #[allow(unsafe_code)]
    let code = unsafe {
        let (mut context, mut principal) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mut code = krb5_init_context(&mut context);
        if code == 0 {
            code = krb5_parse_name(context, name.as_ptr(), &mut principal);
            if code == 0 {
                code = krb5_aname_to_localname(
                    context,
                    principal,
                    MAX_NAME as c_int,
                    local.as_mut_ptr().cast(),
                );
                krb5_free_principal(context, principal);
            }
            krb5_free_context(context);
        }
        code
    };
    match code {
        0 => Ok(CStr::from_bytes_until_nul(&local)
            .ok()
            .and_then(|name| name.to_str().ok())
            .map(str::to_owned)),
        code if NO_LOCAL_NAME.contains(&code) => Ok(None),
        code => Err(format!("libkrb5 answers {code}: see the realm's auth_to_local in krb5.conf")),
    }
}

#[cfg(test)]
mod tests {
    use crate::acl::localgroup::*;

    #[test]
    fn what_does_not_exist_has_no_members() {
        let who = Principal::from_authenticated("nobody-of-that-name@NOWHERE.EXAMPLE").unwrap();
        assert_eq!(holds(b"no-such-group-anywhere", &who), Ok(false));
        assert_eq!(holds(b"\xff", &who), Ok(false));
        assert_eq!(holds(b"root", &who), Ok(false));
    }
}
