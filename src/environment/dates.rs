//! Reads what the host's apt believes of the dates of one source: options of sources.list(5), in
//! either of its forms.

use std::fs;
use std::path::Path;

/// The names of those options, as a line has them, and as a deb822 stanza has them
/// (sources.list(5)).
const OPTIONS: [&str; 5] =
    ["check-valid-until", "valid-until-min", "valid-until-max", "check-date", "date-max-future"];

/// Reads the options of an entry, `FILE:NUMBER` as apt names it: the number is that of the line, or
/// of the stanza.
pub fn options(entry: &str) -> Vec<String> {
    let Some((path, number)) = entry.rsplit_once(':') else { return Vec::new() };
    let (Ok(text), Ok(number)) = (fs::read_to_string(path), number.parse::<usize>()) else {
        return Vec::new();
    };
    if Path::new(path).extension().is_some_and(|suffix| suffix == "sources") {
        of_stanza(&text, number)
    } else {
        text.lines().nth(number.wrapping_sub(1)).map(of_line).unwrap_or_default()
    }
}

fn of_line(line: &str) -> Vec<String> {
    let Some((_, rest)) = line.split_once('[') else { return Vec::new() };
    let words = rest.split(']').next().unwrap_or_default().split_whitespace();
    words
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, value)| option(name, value))
        .collect()
}

fn of_stanza(text: &str, number: usize) -> Vec<String> {
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    let mut stanzas = text.split("\n\n").filter(|stanza| !stanza.trim().is_empty());
    let lines = stanzas.nth(number.wrapping_sub(1)).into_iter().flat_map(str::lines);
    lines
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, value)| option(name, value))
        .collect()
}

fn option(name: &str, value: &str) -> Option<String> {
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let is_plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric());
    (is_plain && OPTIONS.contains(&name.as_str())).then(|| format!("{name}={value}"))
}

#[cfg(test)]
mod tests {
    use crate::dates::*;

    #[test]
    fn both_forms_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (list, sources) = (dir.path().join("x.list"), dir.path().join("x.sources"));
        fs::write(
            &list,
            "# a comment\ndeb http://a/ x main\ndeb [arch=amd64 check-valid-until=no Date-Max-Future=99] http://a/ y main\n",
        )
        .unwrap();
        fs::write(
            &sources,
            "# one\nTypes: deb\nURIs: http://a/\n\n\n# two\nTypes: deb\nCheck-Valid-Until: no\n# three\nDate-Max-Future: 99\n",
        )
        .unwrap();
        let want = ["check-valid-until=no", "date-max-future=99"];
        assert_eq!(options(&format!("{}:3", list.display())), want);
        assert_eq!(options(&format!("{}:2", sources.display())), want);
        for (path, number) in
            [(&list, "2"), (&list, "9"), (&list, "0"), (&sources, "1"), (&sources, "0")]
        {
            assert_eq!(
                options(&format!("{}:{number}", path.display())),
                [""; 0],
                "{}:{number}",
                path.display()
            );
        }
        assert_eq!(options("/nowhere:1"), [""; 0]);
        assert_eq!(of_line("deb [check-valid-until=no]evil] http://a/"), ["check-valid-until=no"]);
        assert_eq!(of_line("deb [check-valid-until=$(x)] http://a/"), [""; 0]);
    }
}
