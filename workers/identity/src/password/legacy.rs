//! Passwords that were hashed elsewhere, with bcrypt (identity spec C10): accepted, and hashed anew with the first sign-in.
//!
//! bcrypt looks at 72 bytes and no more, its closing NUL among them. A longer password is still accepted by its beginning,
//! as it was where it was hashed; the first sign-in hashes it whole, as it was typed then.

use anyhow::{Context, bail};

/// The costliest hash that is compared, as a power of two of rounds; it takes about 3 s.
const MOST_COST: u32 = 15;

/// Whether a stored hash is one of bcrypt's.
pub(super) fn is_bcrypt(stored: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| stored.starts_with(prefix))
}

/// Compares a password with a bcrypt hash.
pub(super) fn verify(password: &[u8], stored: &str) -> anyhow::Result<bool> {
    let cost: u32 =
        stored.get(4..6).and_then(|cost| cost.parse().ok()).context("a bcrypt hash without a cost")?;
    if cost > MOST_COST {
        bail!("a bcrypt hash of cost {cost}; at most {MOST_COST} is compared");
    }
    // the crate's errors repeat the hash
    bcrypt::verify(password, stored).map_err(|_| anyhow::anyhow!("a stored bcrypt hash can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by other programs: OpenBSD's test vectors in the three spellings.
    const KNOWN: [(&str, &str); 3] = [
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ("U*U*", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
        ("U*U*U", "$2y$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"),
    ];

    #[test]
    fn c10_bcrypt_hashes_of_others_are_compared() {
        for (password, stored) in KNOWN {
            assert!(is_bcrypt(stored));
            assert!(verify(password.as_bytes(), stored).unwrap(), "{password}");
            assert!(!verify(b"U*U*U*U", stored).unwrap(), "{password}");
        }
        assert!(!is_bcrypt("$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAA") && !is_bcrypt("$2x$05$"));
    }

    #[test]
    fn c10_a_hash_that_is_none_or_costs_too_much_is_our_fault_and_does_not_show() {
        for bad in ["$2b$", "$2b$05$tooshort", "$2b$31$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"]
        {
            let error = format!("{:#}", verify(b"x", bad).unwrap_err());
            assert!(!error.contains("tooshort") && !error.contains("VGOz"), "{error}");
        }
    }

    #[test]
    fn c10_bcrypt_looks_at_72_bytes_only() {
        let long = "x".repeat(72);
        let stored = bcrypt::hash_with_salt(&long, 4, [7; 16]).unwrap().to_string();
        assert!(verify(format!("{long}tail").as_bytes(), &stored).unwrap());
        assert!(!verify("x".repeat(71).as_bytes(), &stored).unwrap());
    }
}
