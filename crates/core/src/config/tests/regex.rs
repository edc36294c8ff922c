//! Patterns mean what they mean to Python's `re`.

use super::super::{ConfigError, LoraConfig, TargetMatcher};

fn full_match(pattern: &str, name: &str) -> Result<bool, ConfigError> {
    Ok(TargetMatcher::new(&LoraConfig::new(pattern))?.matches(name)?.is_yes())
}

#[test]
fn patterns_match_as_python_matches_them() {
    let rows = [
        (r"a|ab", "ab", true),
        (r"a.*?", "abc", true),
        (r"(?P<n>[a-z]+)\.(?P=n)", "up.up", true),
        (r"(?P<n>[a-z]+)\.(?P=n)", "up.down", false),
        (r"(\w+)\.\1", "up.up", true),
        (r".*(?<!k)_proj", "q_proj", true),
        (r".*(?<!k)_proj", "k_proj", false),
        (r"(?!lm_head).*", "lm_head", false),
        (r"q_proj\Z", "q_proj", true),
        (r"^q_proj$", "q_proj", true),
        (r"(?i)Q_PROJ", "q_proj", true),
        (r"q_{1,2}proj", "q__proj", true),
        (r"q_{,2}proj", "qproj", true),
        (r"q_{2}proj", "q_proj", false),
        (r"q{x}", "q{x}", true),
        (r"a{", "a{", true),
        (r"q[[]", "q[", true),
        (r"[]q]+", "q]", true),
        (r"[^]q]+", "abc", true),
        (r"[a&&b~~]+", "&~ab", true),
        (r"[\w.-]+", "layers.0-q", true),
        (r"[\d\]]+", "0]", true),
        (r"q\_proj\-\ \#\<", "q_proj- #<", true),
        (r"(?:model\.)?layers\.\d+\.(q|v)_proj", "layers.11.v_proj", true),
        (r"(a)?(?(1)b|c)", "ab", true),
        (r"(a)?(?(1)b|c)", "ac", false),
        (r"é+", "éé", true),
    ];
    for (pattern, name, expected) in rows {
        assert_eq!(full_match(pattern, name), Ok(expected), "{pattern} | {name}");
    }
}

#[test]
fn a_bad_pattern_is_an_error_that_names_field_and_pattern() {
    for pattern in ["q_proj(", "*", "a)|(b", "[a", "\\"] {
        let rank = LoraConfig::new(["a"]).with_rank_pattern([(pattern, 4)]);
        let layers = LoraConfig::new(["a"]).with_layers_to_transform(1).with_layers_pattern(pattern);
        let mut saved = LoraConfig::new(["a"]);
        saved.modules_to_save = Some(vec![pattern.to_owned()]);
        let configs = [
            ("target_modules", LoraConfig::new(pattern)),
            ("exclude_modules", LoraConfig::new(["a"]).with_exclude_modules(pattern)),
            ("rank_pattern", rank),
            ("layers_pattern", layers),
            ("modules_to_save", saved),
        ];
        for (expected, config) in configs {
            match TargetMatcher::new(&config) {
                Err(ConfigError::Regex { field, pattern: found, .. }) => {
                    assert_eq!((field, found.as_str()), (expected, pattern));
                }
                other => panic!("{expected} {pattern}: {other:?}"),
            }
        }
    }
}

#[test]
fn endless_backtracking_is_an_error_that_names_the_module() {
    let name = "a".repeat(40);
    let failed = full_match(r"(?:a|a)*(?=b)(?:a|a)*", &name);
    assert!(
        matches!(failed, Err(ConfigError::RegexFailed { ref module, .. }) if *module == name),
        "{failed:?}"
    );
}
