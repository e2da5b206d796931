//! Reads the stanzas of `debian/control` as dpkg does (deb-src-control(5)): what dpkg takes is
//! taken, and what it refuses is refused by line and reason.

use invirtibuilder_core::text::quoted;

/// A field, as it stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// Its line.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// Its value, without space around it; each further line behind a newline.
    pub value: String,
}

/// A stanza.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlStanza {
    /// Its first line.
    pub line: usize,
    /// Its fields, each name once.
    pub fields: Vec<Field>,
}

impl ControlStanza {
    /// Finds the field of a name, in any case.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Returns its value; empty if there is no such field.
    pub fn value(&self, name: &str) -> &str {
        self.field(name).map_or("", |field| field.value.trim())
    }
}

/// Why dpkg does not read a file: the line, and the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlProblem {
    /// The line.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads all stanzas of a text.
pub fn stanzas(text: &str) -> Result<Vec<ControlStanza>, ControlProblem> {
    let (mut all, mut open): (Vec<ControlStanza>, ControlStanza) =
        (Vec::new(), ControlStanza::default());
    for (number, line) in
        text.split('\n').enumerate().map(|(n, line)| (n + 1, line.trim_end_matches(is_space)))
    {
        if line.starts_with('#') {
            continue;
        }
        if line.is_empty() {
            if !open.fields.is_empty() {
                all.push(std::mem::take(&mut open));
            }
            continue;
        }
        take(&mut open, number, line).map_err(|reason| ControlProblem { line: number, reason })?;
    }
    all.extend((!open.fields.is_empty()).then_some(open));
    Ok(all)
}

fn take(stanza: &mut ControlStanza, line: usize, text: &str) -> Result<(), String> {
    if text.starts_with(is_space) {
        let Some(field) = stanza.fields.last_mut() else {
            return Err("goes on with a field, and none is before".into());
        };
        field.value.push('\n');
        field.value.push_str(text.trim_matches(is_space));
        return Ok(());
    }
    // dpkg takes a word without a colon for a field without a value.
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let name = name.trim_end_matches(is_space);
    if name.is_empty() || name.contains(is_space) {
        return Err(format!("is no field 'NAME: VALUE': {}", quoted(text)));
    }
    if name.starts_with('-') {
        return Err(format!("has a field that begins with a hyphen: {}", quoted(text)));
    }
    if let Some(first) = stanza.field(name) {
        return Err(format!(
            "has {} once more, which is in line {} of the same stanza",
            quoted(name),
            first.line
        ));
    }
    if stanza.fields.is_empty() {
        stanza.line = line;
    }
    stanza.fields.push(Field {
        line,
        name: name.to_owned(),
        value: value.trim_start_matches(is_space).to_owned(),
    });
    Ok(())
}

/// Returns what Perl takes for a space in bytes.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

#[cfg(test)]
mod tests {
    use crate::source::control::reader::*;

    #[test]
    fn stanzas_are_read_as_dpkg_reads_them() {
        let text = "# a comment\n\n \nSource : x\r\nbuild-depends:a,\n# in the middle\n b:c\n\t d\nWord\n\t\n\n#\nPackage: x\n";
        let all = stanzas(text).unwrap();
        let fields: Vec<_> = all[0]
            .fields
            .iter()
            .map(|field| (field.line, &field.name[..], &field.value[..]))
            .collect();
        assert_eq!(
            fields,
            [(4, "Source", "x"), (5, "build-depends", "a,\nb:c\nd"), (9, "Word", "")]
        );
        assert_eq!(
            (all.len(), all[1].line, all[1].value("PACKAGE"), all[1].value("x")),
            (2, 13, "x", "")
        );
        assert_eq!(stanzas("\n# nothing\n").unwrap(), []);
        for (text, line, word) in [
            ("Source: x\nSection: y\nSECTION: z\n", 3, "line 2"),
            (" x\nSource: x\n", 1, "none is before"),
            ("Source: x\n\n x\n", 3, "none is before"),
            ("Source: x\ngarbage here\n", 2, "'garbage here'"),
            ("Source: x\n: y\n", 2, "no field"),
            ("Source: x\nfoo bar: y\n", 2, "no field"),
            ("-x: y\n", 1, "hyphen"),
            ("-----BEGIN PGP SIGNED MESSAGE-----\n", 1, "no field"),
        ] {
            let problem = stanzas(text).unwrap_err();
            assert!(problem.line == line && problem.reason.contains(word), "{text}: {problem:?}");
        }
    }
}
