//! The config fields that take one of a few words: `bias`, `init_lora_weights`, `task_type`.

/// Which biases train along with the adapter (PEFT's `bias`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bias {
    /// None: the output without the adapter stays the base model's.
    #[default]
    None,
    /// Every bias of the model.
    All,
    /// The base layer's bias of each adapted module.
    LoraOnly,
}

impl Bias {
    /// The word in `adapter_config.json`: `none`, `all` or `lora_only`.
    pub fn as_str(self) -> &'static str {
        match self {
            Bias::None => "none",
            Bias::All => "all",
            Bias::LoraOnly => "lora_only",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Bias::None, Bias::All, Bias::LoraOnly].into_iter().find(|bias| bias.as_str() == word)
    }
}

/// How a new adapter's `A [r, in]` and `B [out, r]` are drawn (PEFT's `init_lora_weights`).
///
/// ```
/// use qtuner_core::InitLoraWeights;
///
/// assert_eq!(InitLoraWeights::from("Gaussian"), InitLoraWeights::Gaussian);
/// assert_eq!(InitLoraWeights::from("pissa"), InitLoraWeights::Other("pissa".into()));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitLoraWeights {
    /// `true`: `A ~ U(-1/sqrt(in), 1/sqrt(in))`, `B = 0`. The adapter starts as a no-op.
    #[default]
    True,
    /// `false`: as `true`, but `B ~ U(-1/sqrt(r), 1/sqrt(r))`. Not a no-op; meant for tests.
    False,
    /// `"gaussian"` (any letter case): `A ~ N(0, (1/r)^2)`, `B = 0`.
    Gaussian,
    /// Any other word, such as `pissa` or `loftq`: kept, and refused by
    /// [`validate`](crate::LoraConfig::validate).
    Other(String),
}

impl From<&str> for InitLoraWeights {
    fn from(word: &str) -> Self {
        if word.eq_ignore_ascii_case("gaussian") { Self::Gaussian } else { Self::Other(word.to_owned()) }
    }
}

/// What the base model is trained for (PEFT's `task_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskType {
    /// `SEQ_CLS`: sequence classification.
    SequenceClassification,
    /// `SEQ_2_SEQ_LM`: encoder-decoder language model.
    Seq2SeqLm,
    /// `CAUSAL_LM`: decoder language model.
    CausalLm,
    /// `TOKEN_CLS`: token classification.
    TokenClassification,
    /// `QUESTION_ANS`: extractive question answering.
    QuestionAnswering,
    /// `FEATURE_EXTRACTION`: embeddings.
    FeatureExtraction,
}

impl TaskType {
    const ALL: [Self; 6] = [
        Self::SequenceClassification,
        Self::Seq2SeqLm,
        Self::CausalLm,
        Self::TokenClassification,
        Self::QuestionAnswering,
        Self::FeatureExtraction,
    ];

    /// The word in `adapter_config.json`, such as `CAUSAL_LM`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SequenceClassification => "SEQ_CLS",
            Self::Seq2SeqLm => "SEQ_2_SEQ_LM",
            Self::CausalLm => "CAUSAL_LM",
            Self::TokenClassification => "TOKEN_CLS",
            Self::QuestionAnswering => "QUESTION_ANS",
            Self::FeatureExtraction => "FEATURE_EXTRACTION",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.as_str() == word)
    }
}
