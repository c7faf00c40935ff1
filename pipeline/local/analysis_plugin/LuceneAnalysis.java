package pagesight.analysis;

import java.io.IOException;
import java.io.Reader;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.text.ParseException;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.CharArraySet;
import org.apache.lucene.analysis.LowerCaseFilter;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.ar.ArabicNormalizationFilter;
import org.apache.lucene.analysis.ar.ArabicStemFilter;
import org.apache.lucene.analysis.bg.BulgarianStemFilter;
import org.apache.lucene.analysis.bn.BengaliNormalizationFilter;
import org.apache.lucene.analysis.bn.BengaliStemFilter;
import org.apache.lucene.analysis.charfilter.MappingCharFilter;
import org.apache.lucene.analysis.charfilter.NormalizeCharMap;
import org.apache.lucene.analysis.cjk.CJKBigramFilter;
import org.apache.lucene.analysis.cjk.CJKWidthFilter;
import org.apache.lucene.analysis.ckb.SoraniNormalizationFilter;
import org.apache.lucene.analysis.ckb.SoraniStemFilter;
import org.apache.lucene.analysis.compound.DictionaryCompoundWordTokenFilter;
import org.apache.lucene.analysis.core.DecimalDigitFilter;
import org.apache.lucene.analysis.core.FlattenGraphFilter;
import org.apache.lucene.analysis.core.WhitespaceTokenizer;
import org.apache.lucene.analysis.cz.CzechStemFilter;
import org.apache.lucene.analysis.de.GermanLightStemFilter;
import org.apache.lucene.analysis.de.GermanNormalizationFilter;
import org.apache.lucene.analysis.el.GreekLowerCaseFilter;
import org.apache.lucene.analysis.el.GreekStemFilter;
import org.apache.lucene.analysis.en.EnglishPossessiveFilter;
import org.apache.lucene.analysis.en.PorterStemFilter;
import org.apache.lucene.analysis.es.SpanishLightStemFilter;
import org.apache.lucene.analysis.fa.PersianNormalizationFilter;
import org.apache.lucene.analysis.fr.FrenchLightStemFilter;
import org.apache.lucene.analysis.ga.IrishLowerCaseFilter;
import org.apache.lucene.analysis.gl.GalicianStemFilter;
import org.apache.lucene.analysis.hi.HindiNormalizationFilter;
import org.apache.lucene.analysis.hi.HindiStemFilter;
import org.apache.lucene.analysis.hu.HungarianLightStemFilter;
import org.apache.lucene.analysis.id.IndonesianStemFilter;
import org.apache.lucene.analysis.in.IndicNormalizationFilter;
import org.apache.lucene.analysis.lv.LatvianStemFilter;
import org.apache.lucene.analysis.miscellaneous.ASCIIFoldingFilter;
import org.apache.lucene.analysis.miscellaneous.LengthFilter;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.miscellaneous.ScandinavianFoldingFilter;
import org.apache.lucene.analysis.miscellaneous.WordDelimiterGraphFilter;
import org.apache.lucene.analysis.pattern.PatternReplaceCharFilter;
import org.apache.lucene.analysis.pattern.PatternReplaceFilter;
import org.apache.lucene.analysis.pattern.PatternTokenizer;
import org.apache.lucene.analysis.pt.PortugueseLightStemFilter;
import org.apache.lucene.analysis.snowball.SnowballFilter;
import org.apache.lucene.analysis.sr.SerbianNormalizationFilter;
import org.apache.lucene.analysis.synonym.SolrSynonymParser;
import org.apache.lucene.analysis.synonym.SynonymGraphFilter;
import org.apache.lucene.analysis.synonym.SynonymMap;
import org.apache.lucene.analysis.sv.SwedishLightStemFilter;
import org.apache.lucene.analysis.th.ThaiTokenizer;
import org.apache.lucene.analysis.tr.ApostropheFilter;
import org.apache.lucene.analysis.tr.TurkishLowerCaseFilter;
import org.apache.lucene.analysis.util.ElisionFilter;
import org.elasticsearch.plugin.Inject;
import org.elasticsearch.plugin.NamedComponent;
import org.elasticsearch.plugin.analysis.CharFilterFactory;
import org.elasticsearch.plugin.analysis.TokenFilterFactory;
import org.elasticsearch.plugin.analysis.TokenizerFactory;
import org.elasticsearch.plugin.settings.AnalysisSettings;
import org.elasticsearch.plugin.settings.BooleanSetting;
import org.elasticsearch.plugin.settings.IntSetting;
import org.elasticsearch.plugin.settings.ListSetting;
import org.elasticsearch.plugin.settings.StringSetting;

/**
 * The parts of Lucene's common analysis that mappings/analysis.json uses, under the names and settings that the module
 * analysis-common of a full distribution gives them. The local node lacks that module. A full distribution would refuse
 * this plugin, since the names exist there. What is here once stays: a node does not start with an index that names a part
 * that it lacks.
 */
public final class LuceneAnalysis {
    private LuceneAnalysis() {}

    private static CharArraySet set(List<String> words) {
        return new CharArraySet(words, true);
    }

    // Tokenizers

    @NamedComponent("whitespace")
    public static class Whitespace implements TokenizerFactory {
        @Override
        public Tokenizer create() {
            return new WhitespaceTokenizer();
        }
    }

    @NamedComponent("thai")
    public static class Thai implements TokenizerFactory {
        @Override
        public Tokenizer create() {
            return new ThaiTokenizer();
        }
    }

    @AnalysisSettings
    public interface PatternTokens {
        @StringSetting(path = "pattern", defaultValue = "\\W+")
        String pattern();

        @IntSetting(path = "group", defaultValue = -1)
        int group();
    }

    @NamedComponent("pattern")
    public static class PatternTokenizerFactory implements TokenizerFactory {
        private final PatternTokens settings;

        @Inject
        public PatternTokenizerFactory(PatternTokens settings) {
            this.settings = settings;
        }

        @Override
        public Tokenizer create() {
            return new PatternTokenizer(Pattern.compile(settings.pattern()), settings.group());
        }
    }

    // Character filters

    @AnalysisSettings
    public interface Mappings {
        @ListSetting(path = "mappings")
        List<String> mappings();
    }

    @NamedComponent("mapping")
    public static class MappingCharFilterFactory implements CharFilterFactory {
        private final NormalizeCharMap map;

        @Inject
        public MappingCharFilterFactory(Mappings settings) {
            NormalizeCharMap.Builder builder = new NormalizeCharMap.Builder();
            for (String rule : settings.mappings()) {
                String[] sides = rule.split("=>", -1);
                builder.add(sides[0].strip(), sides[1].strip());
            }
            map = builder.build();
        }

        @Override
        public Reader create(Reader reader) {
            return new MappingCharFilter(map, reader);
        }

        @Override
        public Reader normalize(Reader reader) {
            return create(reader);
        }
    }

    @AnalysisSettings
    public interface Replacing {
        @StringSetting(path = "pattern", defaultValue = "")
        String pattern();

        @StringSetting(path = "replacement", defaultValue = "")
        String replacement();
    }

    @NamedComponent("pattern_replace")
    public static class PatternReplaceCharFilterFactory implements CharFilterFactory {
        private final Pattern pattern;
        private final String replacement;

        @Inject
        public PatternReplaceCharFilterFactory(Replacing settings) {
            pattern = Pattern.compile(settings.pattern());
            replacement = settings.replacement();
        }

        @Override
        public Reader create(Reader reader) {
            return new PatternReplaceCharFilter(pattern, replacement, reader);
        }

        @Override
        public Reader normalize(Reader reader) {
            return create(reader);
        }
    }

    // Token filters. A filter that only folds characters also normalises the terms of prefix and fuzzy queries.

    private abstract static class Folding implements TokenFilterFactory {
        @Override
        public TokenStream normalize(TokenStream tokens) {
            return create(tokens);
        }
    }

    @NamedComponent("pattern_replace")
    public static class PatternReplaceTokenFilterFactory extends Folding {
        private final Pattern pattern;
        private final String replacement;

        @Inject
        public PatternReplaceTokenFilterFactory(Replacing settings) {
            pattern = Pattern.compile(settings.pattern());
            replacement = settings.replacement();
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return new PatternReplaceFilter(tokens, pattern, replacement, true);
        }
    }

    @AnalysisSettings
    public interface FoldingSettings {
        @BooleanSetting(path = "preserve_original", defaultValue = false)
        boolean preserveOriginal();
    }

    @NamedComponent("asciifolding")
    public static class AsciiFolding implements TokenFilterFactory {
        private final boolean preserve;

        @Inject
        public AsciiFolding(FoldingSettings settings) {
            preserve = settings.preserveOriginal();
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return new ASCIIFoldingFilter(tokens, preserve);
        }

        @Override
        public TokenStream normalize(TokenStream tokens) {
            return new ASCIIFoldingFilter(tokens, false);
        }
    }

    @AnalysisSettings
    public interface LanguageSettings {
        @StringSetting(path = "language", defaultValue = "")
        String language();
    }

    @NamedComponent("lowercase")
    public static class LowerCase extends Folding {
        private final String language;

        @Inject
        public LowerCase(LanguageSettings settings) {
            language = settings.language();
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return switch (language) {
                case "" -> new LowerCaseFilter(tokens);
                case "greek" -> new GreekLowerCaseFilter(tokens);
                case "irish" -> new IrishLowerCaseFilter(tokens);
                case "turkish" -> new TurkishLowerCaseFilter(tokens);
                default -> throw new IllegalArgumentException("no lower case of the language [" + language + "]");
            };
        }
    }

    @AnalysisSettings
    public interface StemmerSettings {
        @StringSetting(path = "language", defaultValue = "english")
        String language();
    }

    private static final Map<String, UnaryOperator<TokenStream>> STEMMERS =
        Map.ofEntries(
            Map.entry("arabic", ArabicStemFilter::new),
            Map.entry("bengali", BengaliStemFilter::new),
            Map.entry("bulgarian", BulgarianStemFilter::new),
            Map.entry("czech", CzechStemFilter::new),
            Map.entry("english", PorterStemFilter::new),
            Map.entry("galician", GalicianStemFilter::new),
            Map.entry("greek", GreekStemFilter::new),
            Map.entry("hindi", HindiStemFilter::new),
            Map.entry("indonesian", IndonesianStemFilter::new),
            Map.entry("latvian", LatvianStemFilter::new),
            Map.entry("light_french", FrenchLightStemFilter::new),
            Map.entry("light_german", GermanLightStemFilter::new),
            Map.entry("light_hungarian", HungarianLightStemFilter::new),
            Map.entry("light_portuguese", PortugueseLightStemFilter::new),
            Map.entry("light_spanish", SpanishLightStemFilter::new),
            Map.entry("light_swedish", SwedishLightStemFilter::new),
            Map.entry("possessive_english", EnglishPossessiveFilter::new),
            Map.entry("sorani", SoraniStemFilter::new));

    /** Languages whose Snowball stemmer has the name of the language. */
    private static final List<String> SNOWBALL =
        List.of(
            "armenian", "basque", "catalan", "danish", "dutch", "estonian", "finnish", "irish", "italian",
            "lithuanian", "norwegian", "romanian", "russian", "serbian", "swedish", "turkish");

    @NamedComponent("stemmer")
    public static class Stemmer implements TokenFilterFactory {
        private final UnaryOperator<TokenStream> stemmer;

        @Inject
        public Stemmer(StemmerSettings settings) {
            String language = settings.language();
            if (SNOWBALL.contains(language)) {
                String name = language.substring(0, 1).toUpperCase() + language.substring(1);
                stemmer = tokens -> new SnowballFilter(tokens, name);
            } else if (STEMMERS.containsKey(language)) {
                stemmer = STEMMERS.get(language);
            } else {
                throw new IllegalArgumentException("no stemmer of the language [" + language + "]");
            }
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return stemmer.apply(tokens);
        }
    }

    @AnalysisSettings
    public interface Articles {
        @ListSetting(path = "articles")
        List<String> articles();
    }

    @NamedComponent("elision")
    public static class Elision extends Folding {
        private final CharArraySet articles;

        @Inject
        public Elision(Articles settings) {
            articles = set(settings.articles());
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return new ElisionFilter(tokens, articles);
        }
    }

    @AnalysisSettings
    public interface Delimiters {
        @BooleanSetting(path = "catenate_all", defaultValue = false)
        boolean catenateAll();

        @BooleanSetting(path = "preserve_original", defaultValue = false)
        boolean preserveOriginal();
    }

    @NamedComponent("word_delimiter_graph")
    public static class WordDelimiterGraph implements TokenFilterFactory {
        private final int flags;

        @Inject
        public WordDelimiterGraph(Delimiters settings) {
            flags =
                WordDelimiterGraphFilter.GENERATE_WORD_PARTS
                    | WordDelimiterGraphFilter.GENERATE_NUMBER_PARTS
                    | WordDelimiterGraphFilter.SPLIT_ON_CASE_CHANGE
                    | WordDelimiterGraphFilter.SPLIT_ON_NUMERICS
                    | WordDelimiterGraphFilter.STEM_ENGLISH_POSSESSIVE
                    | (settings.catenateAll() ? WordDelimiterGraphFilter.CATENATE_ALL : 0)
                    | (settings.preserveOriginal() ? WordDelimiterGraphFilter.PRESERVE_ORIGINAL : 0);
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return new WordDelimiterGraphFilter(tokens, flags, null);
        }
    }

    @AnalysisSettings
    public interface Lengths {
        @IntSetting(path = "min", defaultValue = 0)
        int min();

        @IntSetting(path = "max", defaultValue = Integer.MAX_VALUE)
        int max();
    }

    @NamedComponent("length")
    public static class Length implements TokenFilterFactory {
        private final Lengths settings;

        @Inject
        public Length(Lengths settings) {
            this.settings = settings;
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return new LengthFilter(tokens, settings.min(), settings.max());
        }
    }

    @AnalysisSettings
    public interface WordList {
        @ListSetting(path = "word_list")
        List<String> words();
    }

    @NamedComponent("dictionary_decompounder")
    public static class Decompounder implements TokenFilterFactory {
        private final CharArraySet words;

        @Inject
        public Decompounder(WordList settings) {
            words = set(settings.words());
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return words.isEmpty() ? tokens : new DictionaryCompoundWordTokenFilter(tokens, words);
        }
    }

    @AnalysisSettings
    public interface Synonyms {
        @ListSetting(path = "synonyms")
        List<String> synonyms();
    }

    @NamedComponent("synonym_graph")
    public static class SynonymGraph implements TokenFilterFactory {
        private final SynonymMap map;

        @Inject
        public SynonymGraph(Synonyms settings) {
            Analyzer words =
                new Analyzer() {
                    @Override
                    protected TokenStreamComponents createComponents(String field) {
                        Tokenizer tokenizer = new WhitespaceTokenizer();
                        return new TokenStreamComponents(tokenizer, new LowerCaseFilter(tokenizer));
                    }
                };
            SolrSynonymParser parser = new SolrSynonymParser(true, true, words);
            try {
                parser.parse(new StringReader(String.join("\n", settings.synonyms())));
                map = parser.build();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            } catch (ParseException error) {
                throw new IllegalArgumentException("the synonyms cannot be read: " + error.getMessage(), error);
            }
        }

        @Override
        public TokenStream create(TokenStream tokens) {
            return map.fst == null ? tokens : new SynonymGraphFilter(tokens, map, true);
        }
    }

    // Token filters without settings

    @NamedComponent("flatten_graph")
    public static class FlattenGraph implements TokenFilterFactory {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new FlattenGraphFilter(tokens);
        }
    }

    @NamedComponent("remove_duplicates")
    public static class RemoveDuplicates implements TokenFilterFactory {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new RemoveDuplicatesTokenFilter(tokens);
        }
    }

    @NamedComponent("cjk_bigram")
    public static class CjkBigram implements TokenFilterFactory {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new CJKBigramFilter(tokens);
        }
    }

    @NamedComponent("apostrophe")
    public static class Apostrophe implements TokenFilterFactory {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new ApostropheFilter(tokens);
        }
    }

    @NamedComponent("cjk_width")
    public static class CjkWidth extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new CJKWidthFilter(tokens);
        }
    }

    @NamedComponent("decimal_digit")
    public static class DecimalDigit extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new DecimalDigitFilter(tokens);
        }
    }

    @NamedComponent("german_normalization")
    public static class GermanNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new GermanNormalizationFilter(tokens);
        }
    }

    @NamedComponent("arabic_normalization")
    public static class ArabicNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new ArabicNormalizationFilter(tokens);
        }
    }

    @NamedComponent("persian_normalization")
    public static class PersianNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new PersianNormalizationFilter(tokens);
        }
    }

    @NamedComponent("hindi_normalization")
    public static class HindiNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new HindiNormalizationFilter(tokens);
        }
    }

    @NamedComponent("indic_normalization")
    public static class IndicNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new IndicNormalizationFilter(tokens);
        }
    }

    @NamedComponent("bengali_normalization")
    public static class BengaliNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new BengaliNormalizationFilter(tokens);
        }
    }

    @NamedComponent("sorani_normalization")
    public static class SoraniNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new SoraniNormalizationFilter(tokens);
        }
    }

    @NamedComponent("serbian_normalization")
    public static class SerbianNormalization extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new SerbianNormalizationFilter(tokens);
        }
    }

    @NamedComponent("scandinavian_folding")
    public static class ScandinavianFolding extends Folding {
        @Override
        public TokenStream create(TokenStream tokens) {
            return new ScandinavianFoldingFilter(tokens);
        }
    }
}
