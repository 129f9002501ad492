//! Keras' snake case, from which object paths are made.

use crate::tree::Flavor;

/// `Conv2DTranspose` → `conv2d_transpose`, `PReLU` → `p_re_lu`.
///
/// Both Kerases put `_` before every capital that starts a run of lower-case letters and between a lower-case letter
/// and a capital. Keras 3 first drops what cannot be part of a name; Keras 2 writes `private` before a leading `_`.
pub fn snake_case(class: &str, flavor: Flavor) -> String {
    let kept: Vec<char> = match flavor {
        Flavor::Keras3 => class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect(),
        Flavor::Keras2 => class.chars().collect(),
    };
    let words = before_words(&kept);
    let split = between_cases(&words);
    let lower = split.iter().collect::<String>().to_lowercase();
    if flavor == Flavor::Keras2 && lower.starts_with('_') { format!("private{lower}") } else { lower }
}

/// `(.)([A-Z][a-z]+)` → `\1_\2`, matches not overlapping.
fn before_words(text: &[char]) -> Vec<char> {
    let at = |index: usize| text.get(index).copied();
    let mut out = Vec::with_capacity(text.len().saturating_mul(2));
    let mut index = 0;
    while let Some(first) = at(index) {
        let upper = at(index.saturating_add(1)).filter(char::is_ascii_uppercase);
        let lower = at(index.saturating_add(2)).filter(char::is_ascii_lowercase);
        out.push(first);
        index = index.saturating_add(1);
        if let (Some(upper), Some(_), false) = (upper, lower, first == '\n') {
            out.push('_');
            out.push(upper);
            index = index.saturating_add(1);
            while let Some(letter) = at(index).filter(char::is_ascii_lowercase) {
                out.push(letter);
                index = index.saturating_add(1);
            }
        }
    }
    out
}

/// `([a-z])([A-Z])` → `\1_\2`, matches not overlapping.
fn between_cases(text: &[char]) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len().saturating_mul(2));
    let mut previous: Option<char> = None;
    for &letter in text {
        if letter.is_ascii_uppercase() && previous.is_some_and(|before| before.is_ascii_lowercase()) {
            out.push('_');
        }
        out.push(letter);
        previous = Some(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;
    use crate::tree::Flavor;

    #[test]
    fn as_keras_names_its_classes() {
        // Recorded from keras.src.utils.naming.to_snake_case.
        let cases = [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("LSTM", "lstm"),
            ("LSTMCell", "lstm_cell"),
            ("PReLU", "p_re_lu"),
            ("ReLU", "re_lu"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("ConvLSTM2D", "conv_lstm2d"),
            ("StackedRNNCells", "stacked_rnn_cells"),
            ("RMSNormalization", "rms_normalization"),
            ("STFTSpectrogram", "stft_spectrogram"),
            ("My_Layer", "my__layer"),
            ("ABc", "a_bc"),
            ("AbC", "ab_c"),
            ("X", "x"),
        ];
        for (class, expected) in cases {
            assert_eq!(snake_case(class, Flavor::Keras3), expected, "{class}");
            assert_eq!(snake_case(class, Flavor::Keras2), expected, "{class}");
        }
        assert_eq!(snake_case("_Private", Flavor::Keras2), "private__private");
        assert_eq!(snake_case("_Private", Flavor::Keras3), "__private");
    }
}
