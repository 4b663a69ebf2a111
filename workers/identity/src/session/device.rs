//! What a session is called in the list that its user looks at.

/// Programs by what only they say of themselves; the order matters, since most also claim to be those below them.
const PROGRAMS: &[(&str, &str)] = &[
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Whale/", "Whale"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

/// Systems, those that name another one besides themselves first.
const SYSTEMS: &[(&str, &str)] = &[
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Darwin", "macOS"),
    ("Linux", "Linux"),
];

/// The longest name of a program that is not among the known ones, characters.
const LONGEST_PROGRAM: usize = 40;

/// A short name for a `User-Agent`, for example `Chrome on Windows`; none when it says nothing.
pub(crate) fn name(agent: &str) -> Option<String> {
    let find = |table: &[(&str, &'static str)]| {
        table.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    // a browser says Mozilla first; anything else says its own name
    let program = find(PROGRAMS).map(str::to_owned).or_else(|| {
        let own = agent.split(['/', ' ', '(', ';']).next().unwrap_or_default();
        (!own.is_empty() && own != "Mozilla").then(|| own.chars().take(LONGEST_PROGRAM).collect())
    });
    match (program, find(SYSTEMS)) {
        (Some(program), Some(system)) => Some(format!("{program} on {system}")),
        (Some(program), None) => Some(program),
        (None, system) => system.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_called_what_their_users_call_them() {
        let webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
        for (agent, called) in [
            (format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) {webkit} Chrome/142.0.0.0 Safari/537.36"), "Chrome on Windows"),
            (format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) {webkit} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"), "Edge on Windows"),
            (format!("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {webkit} Chrome/142.0.0.0 Safari/537.36 OPR/125.0.0.0"), "Opera on macOS"),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15".to_owned(), "Safari on macOS"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0.7444.77 Mobile/15E148 Safari/604.1".to_owned(), "Chrome on iPhone"),
            ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".to_owned(), "Firefox on Linux"),
            (format!("Mozilla/5.0 (Linux; Android 15; SM-S931N) {webkit} SamsungBrowser/29.0 Chrome/136.0.0.0 Mobile Safari/537.36"), "Samsung Internet on Android"),
            (format!("Mozilla/5.0 (X11; CrOS x86_64 16181.61.0) {webkit} Chrome/142.0.0.0 Safari/537.36"), "Chrome on ChromeOS"),
        ] {
            assert_eq!(name(&agent).as_deref(), Some(called), "{agent}");
        }
    }

    #[test]
    fn other_programs_are_called_what_they_call_themselves() {
        assert_eq!(name("curl/8.9.1").as_deref(), Some("curl"));
        assert_eq!(name("okhttp/4.12.0").as_deref(), Some("okhttp"));
        assert_eq!(name("Lectern/2.1 (iPhone; iOS 18.7)").as_deref(), Some("Lectern on iPhone"));
        assert_eq!(name("Mozilla/5.0 (Windows NT 10.0)").as_deref(), Some("Windows"));
    }

    #[test]
    fn what_says_nothing_has_no_name_and_what_says_much_a_short_one() {
        for agent in ["", "/", "Mozilla/5.0", " "] {
            assert_eq!(name(agent), None, "{agent:?}");
        }
        let long = format!("{} on Windows", "x".repeat(LONGEST_PROGRAM));
        assert_eq!(name(&format!("{} Windows", "x".repeat(450))), Some(long));
    }
}
